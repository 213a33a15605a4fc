"""What a person reads of a Solution, from one record of facts: text, a panel in colours, HTML; and figures."""
