"""What is read of a file is what it holds or a refusal in words; what is written is whole or not there."""

import bz2
import gzip
import io
import os
import signal
import stat
import threading
import zipfile

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sparse

import resolvent as rv
from resolvent.io.matrix_files import read_matrix, read_vector, write_matrix, write_vector
from resolvent.io.safe_writing import check_distinct, check_room, check_writable, writing

GENERAL = "%%MatrixMarket matrix coordinate real general\n"
ARRAY = "%%MatrixMarket matrix array real general\n"


def market(body, field="real", symmetry="general"):
    return f"%%MatrixMarket matrix coordinate {field} {symmetry}\n{body}".encode()


def array_file(shape, body=b"", dtype="<f8"):
    """A .npy file that announces a shape, whatever follows."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + body


def archive(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def rows(form=b"csr", n=3, data=(1.0, 1, 1), indices=(0, 1, 2), indptr=(0, 1, 2, 3)):
    return archive(format=form, shape=(n, n), data=np.array(data), indices=np.int32(indices), indptr=np.int32(indptr))


def zipped(name, content):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return stream.getvalue()


EYE = market("2 2 2\n1 1 1\n2 2 1\n")
HUGE = market("2000000000 2000000000 1\n1 1 1\n")
DIAGONAL = {"row": np.arange(3), "col": np.arange(3), "data": np.ones(3)}

REFUSED = {
    # Sizes that the file cannot hold.
    "rows": (HUGE, "announces 2000000000 rows in 76 bytes"),
    "columns": (market("2 2000000000 1\n1 1 1\n"), "announces 2000000000 columns"),
    "entries": (market("2 2 2000000000\n1 1 1\n"), "announces 2000000000 entries, and 1 lines follow"),
    "rows, gzip": (gzip.compress(HUGE), "announces 2000000000 rows in 76 bytes"),
    "entries, bzip2": (bz2.compress(market("2 2 2000000000\n1 1 1\n")), "announces 2000000000 entries"),
    "array": (f"{ARRAY}100000 100000\n1\n".encode(), "announces 10000000000 entries, and 1 lines follow"),
    "npy": (array_file((200000, 200000), bytes(80)), "announces an array of shape (200000, 200000)"),
    "npy cut short": (array_file((2, 2), bytes(20)), "20 bytes follow"),
    "npy, negative": (array_file((-1, 2), bytes(20)), "announces an array of shape (-1, 2)"),
    "npz": (zipped("arr_0.npy", array_file((40000, 40000), bytes(1000))), "shape (40000, 40000) of float64, and 1000"),
    "npz, coordinates": (archive(format=b"coo", shape=(2 * 10**9,) * 2, **DIAGONAL), "shape (2000000000, 2000000000)"),
    "npz, negative": (archive(format=b"coo", shape=(-3, -3), **DIAGONAL), "shape (-3, -3)"),
    "npz, rows": (rows(n=2 * 10**9), "shape (2000000000, 2000000000)"),
    # Sizes that are none.
    "negative": (market("-2 -2 1\n1 1 1\n"), "its sizes are '-2 -2 1'"),
    "floats": (market("2.0 2 1\n1 1 1\n"), "its sizes are '2.0 2 1'"),
    "beyond int64": (market(f"{'9' * 400} 2 1\n1 1 1\n"), "wanted 3 whole numbers"),
    "two sizes": (market("2 2\n1 1 1\n"), "its sizes are '2 2'; wanted 3"),
    "no sizes": (market("% nothing\n\n"), "its sizes are ''"),
    # Headers and bodies that do not fit.
    "rational": (market("1 1 1\n1 1 1\n", field="rational"), "names 'rational'"),
    "vector": (GENERAL.replace("matrix", "vector").encode(), "wanted %%MatrixMarket matrix"),
    "array pattern": (b"%%MatrixMarket matrix array pattern general\n1 1\n", "is a pattern"),
    "pattern with values": (market("1 1 1\n1 1 2.5\n", field="pattern"), "first entry is '1 1 2.5'; wanted 2"),
    "real with two": (market("1 1 1\n1 1 2.5 1\n"), "wanted 3 numbers"),
    "complex with one": (market("1 1 1\n1 1 2.5\n", field="complex"), "wanted 4 numbers"),
    "both triangles": (market("2 2 2\n1 2 1\n2 1 1\n", symmetry="symmetric"), "both sides of the diagonal"),
    "skew diagonal": (market("2 2 2\n1 1 1\n2 1 1\n", symmetry="skew-symmetric"), "diagonal that is not zero"),
    "symmetric rectangle": (market("2 3 1\n2 1 1\n", symmetry="symmetric"), "2 x 3; wanted a square matrix"),
    "outside": (market("% note\n2 2 2\n1 1 1\n3 2 1\n"), "Line 5"),
    "row zero": (market("2 2 1\n0 1 1\n"), "out of bounds"),
    "too many": (market("2 2 1\n1 1 1\n2 2 1\n"), "too long"),
    "too few": (market("2 2 3\n1 1 1\n2 2 1\n"), "announces 3 entries, and 2 lines follow"),
    "hexadecimal": (market("% note\n2 2 2\n1 1 1\n2 2 0x10\n"), "line 5 holds 'x'"),
    "decimal comma": (market("2 2 2\n1 1 1\n2 2 1,5\n"), "holds ','"),
    "Fortran's exponent": (market("2 2 2\n1 1 1\n2 2 1.0D+02\n"), "holds 'D'"),
    "binary in text": (market("2 2 2\n1 1 1\n2 2 \0\n"), "holds '\\x00'"),
    # Files that are none.
    "empty": (b"", "is empty"),
    "binary": (bytes(range(256)), "like none of the files"),
    "gzip cut short": (gzip.compress(EYE)[:-12], "cannot be read"),
    "zip cut short": (rows()[:-30], "cannot be read"),
    "zip of text": (zipped("readme.txt", "hello"), "cannot be read"),
    "two arrays": (archive(a=np.ones(3), b=np.ones(3)), "holds 2 arrays (a, b)"),
    "text": (array_file((1, 1), bytes(4), "<U1"), "which are not numbers"),
    "objects": (array_file((1, 1), bytes(8), "|O"), "holds Python objects"),
    # Sparse matrices that point out of themselves.
    "npz, a column too large": (rows(indices=(0, 9, 2)), "row 1 holds column 9; wanted columns 0 to 2"),
    "npz, a negative column": (rows(indices=(0, -9, 2)), "row 1 holds column -9"),
    "npz, rows behind the data": (rows(indptr=(0, 5, 2, 3)), "row 1 begins at entry 5 and ends at 2"),
    "npz, a negative start": (rows(indptr=(0, -5, 2, 3)), "row 0 begins at entry 0 and ends at -5"),
    "npz, a row too large": (rows(form=b"csc", indices=(0, 10**8, 2)), "column 1 holds row 100000000"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_file_cannot_be_is_refused_by_name(case, tmp_path):
    content, said = REFUSED[case]
    path = tmp_path / "A.dat"
    path.write_bytes(content)
    with pytest.raises(rv.InputError) as caught:
        read_matrix(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


READ = {
    "carriage returns": (EYE.replace(b"\n", b"\r\n"), np.eye(2)),
    "no last newline": (EYE[:-1], np.eye(2)),
    "blank lines": (market("\n2 2 2\n\n1 1 1\n\n2 2 1\n\n"), np.eye(2)),
    "tabs": (EYE.replace(b" 2", b"\t2"), np.eye(2)),
    "a long comment": (market(f"%{'x' * 300_000}\n2 2 2\n1 1 1\n2 2 1\n"), np.eye(2)),
    "capitals": (EYE.replace(b"matrix coordinate real", b"MATRIX Coordinate REAL"), np.eye(2)),
    "gzip": (gzip.compress(EYE), np.eye(2)),
    "bzip2": (bz2.compress(EYE), np.eye(2)),
    "not so integer": (market("2 2 2\n1 1 2.5\n2 2 4\n", field="integer"), np.diag([2.5, 4])),
    "large integer": (market("1 1 1\n1 1 99999999999999999999999\n", field="integer"), [[1e23]]),
    "pattern": (market("2 2 2\n1 1\n2 2\n", field="pattern"), np.eye(2)),
    "lower": (market("2 2 2\n1 1 3\n2 1 5\n", symmetry="symmetric"), [[3, 5], [5, 0]]),
    "upper": (market("2 2 2\n1 1 3\n1 2 5\n", symmetry="symmetric"), [[3, 5], [5, 0]]),
    "skew": (market("2 2 1\n2 1 5\n", symmetry="skew-symmetric"), [[0, -5], [5, 0]]),
    "Hermitian": (market("2 2 2\n1 1 3 0\n2 1 1 2\n", "complex", "hermitian"), [[3, 1 - 2j], [1 + 2j, 0]]),
    "symmetric array": (b"%%MatrixMarket matrix array real symmetric\n2 2\n1\n2\n3\n", [[1, 2], [2, 3]]),
    "repeated": (market("1 1 2\n1 1 1\n1 1 2\n"), [[3]]),
    "nothing": (market("0 0 0\n"), np.zeros((0, 0))),
    "an array of nothing": (f"{ARRAY}0 0\n".encode(), np.zeros((0, 0))),
    "zeros": (market("3 3 0\n"), np.zeros((3, 3))),
    "npz with more than its rows name": (rows(data=(1.0, 1, 1, 7), indices=(0, 1, 2, 99)), np.eye(3)),
    "npz by columns": (rows(form=b"csc"), np.eye(3)),
    "npy": (array_file((2, 2), np.eye(2).tobytes()), np.eye(2)),
}


@pytest.mark.parametrize("case", READ)
def test_what_a_file_holds_is_read(case, tmp_path):
    content, wanted = READ[case]
    path = tmp_path / "A.dat"
    path.write_bytes(content)
    found = read_matrix(path)
    np.testing.assert_array_equal(found.toarray() if sparse.issparse(found) else found, wanted)


@pytest.mark.parametrize("field", ["real", "complex", "integer", "pattern"])
@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric", "hermitian"])
def test_the_reference_reads_the_same(field, symmetry, tmp_path):
    rng = np.random.default_rng(3)
    A = np.tril(rng.integers(-5, 6, (8, 8)) * (rng.random((8, 8)) < 0.5))
    i, j = np.nonzero(np.tril(A, -1) if symmetry == "skew-symmetric" else A)
    values = {"real": "{:.17g}", "integer": "{}", "pattern": "", "complex": "{} -2.5"}[field]
    lines = [f"{r + 1} {c + 1} {values.format(A[r, c])}\n" for r, c in zip(i, j, strict=True)]
    path = tmp_path / "A.mtx"
    path.write_bytes(market(f"8 8 {len(lines)}\n{''.join(lines)}", field, symmetry))
    np.testing.assert_array_equal(read_matrix(path).toarray(), scipy.io.mmread(path).toarray())


def test_a_sparse_vector_may_be_as_long_as_its_matrix(tmp_path):
    path = tmp_path / "b.mtx"
    path.write_bytes(market("100000 1 1\n7 1 3\n"))
    with pytest.raises(rv.InputError, match="announces 100000 rows"):
        read_vector(path)
    found = read_vector(path, 100_000)
    assert found.shape == (100_000,)
    assert found[6] == found.sum() == 3
    path.write_bytes(market("100000 50 1\n7 1 3\n"))
    with pytest.raises(rv.InputError, match="announces 50 columns and holds 1 entries"):
        read_vector(path, 100_000)


def test_directories_devices_and_absent_files(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a directory"):
        read_matrix(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_matrix(tmp_path / "A.mtx")
    with pytest.raises(rv.InputError, match="is a device"):
        read_matrix(os.devnull)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_pipes_are_read_and_written(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(gzip.compress(EYE),))
    writer.start()
    np.testing.assert_array_equal(read_matrix(path).toarray(), np.eye(2))
    writer.join()
    named = path.rename(tmp_path / "x.mtx")
    check_writable(named)
    found = []
    reader = threading.Thread(target=lambda: found.append(named.read_bytes()))
    reader.start()
    write_vector(named, np.ones(2))
    reader.join()
    assert scipy.io.mmread(io.BytesIO(found[0])).ravel().tolist() == [1, 1]
    assert stat.S_ISFIFO(named.stat().st_mode)


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz", ".npy", ".npz", ".MTX"])
def test_reading_gives_back_what_was_written(suffix, tmp_path):
    A = sparse.random_array((30, 30), density=0.2, rng=5)
    path = tmp_path / f"A{suffix}"
    write_matrix(path, A)
    found = read_matrix(path)
    np.testing.assert_array_equal(found.toarray() if sparse.issparse(found) else found, A.toarray())
    assert os.listdir(tmp_path) == [path.name]
    if suffix != ".npz":
        write_vector(path, A.toarray()[:, :2])
        np.testing.assert_array_equal(read_vector(path), A.toarray()[:, :2])


def test_what_fails_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(b"old")

    def fail(error):
        with writing(path) as stream:
            stream.write(b"new")
            raise error

    for error in (KeyboardInterrupt, ValueError, MemoryError):
        with pytest.raises(error):
            fail(error)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["x.npy"]


@pytest.fixture
def small_disk():
    """No file may grow beyond 4096 bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz", ".npy"])
def test_a_disk_that_fills_leaves_no_piece(suffix, tmp_path, small_disk):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(OSError) as caught:
        write_vector(path, np.random.default_rng(0).standard_normal(5000))
    assert caught.value.filename == str(path)
    assert caught.value.strerror
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_device_is_an_error_with_its_name():
    with pytest.raises(OSError, match="No space left") as caught, writing("/dev/full") as stream:
        stream.write(b"1")
    assert caught.value.filename == "/dev/full"


def test_too_little_room_is_found_before(tmp_path):
    check_room(tmp_path / "x.npy", 1)
    with pytest.raises(OSError, match="are needed") as caught:
        check_room(tmp_path / "x.npy", 2**62)
    assert caught.value.filename == str(tmp_path / "x.npy")


def test_what_cannot_be_written_is_found_before(tmp_path, monkeypatch):
    for path in (tmp_path, tmp_path / "nowhere" / "x.npy", tmp_path / ("x" * 300)):
        with pytest.raises(OSError):
            check_writable(path)
    path = tmp_path / "x.npy"
    check_writable(path)
    assert os.listdir(tmp_path) == []

    def denied(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(PermissionError) as caught:
        check_writable(path)
    assert caught.value.filename == str(path)


def test_permissions_and_links_are_kept(tmp_path):
    path, link = tmp_path / "x.npy", tmp_path / "link.npy"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_vector(link, np.ones(2))
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    np.testing.assert_array_equal(np.load(path), np.ones(2))
    umask = os.umask(0o027)
    try:
        write_vector(tmp_path / "new.npy", np.ones(2))
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new.npy").stat().st_mode) == 0o640


def test_one_place_is_one_file(tmp_path):
    path = tmp_path / "x.npy"
    (tmp_path / "link").symlink_to(path)
    check_distinct({"--output": path, "--json": tmp_path / "r.json", "--plot": None}, {"A": tmp_path / "A.mtx"})
    check_distinct({"--output": os.devnull, "--json": os.devnull}, {"A": "-", "b": None})
    for other in (path, tmp_path / "link", tmp_path / "." / "x.npy"):
        with pytest.raises(rv.InputError, match=r"--json: found .*, which is --output too"):
            check_distinct({"--output": path, "--json": other}, {})
        with pytest.raises(rv.InputError, match=r"--output: found .*, which is A too"):
            check_distinct({"--output": path}, {"A": other})
    with pytest.raises(rv.InputError, match="--json: found -, which is --output too"):
        check_distinct({"--output": "/dev/stdout", "--json": "-"}, {})
