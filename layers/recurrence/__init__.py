"""The linear recurrence of which every layer of the family is a case, chunk by chunk."""
