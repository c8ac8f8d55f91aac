"""Labels from a table: columns, delimiters, encodings, and what is odd in it."""

import unicodedata

import pytest

from tf_simclr.data import label_file
from tf_simclr.errors import UserError

NAMES = ("a.png", "b.png", "deep/c.png", "deep/d.jpg")


@pytest.fixture
def read(tmp_path):
    """A function: content of a table, value of --labels -> labels of the images NAMES."""

    def read(content, value="labels.csv"):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "labels.csv").write_bytes(data)
        images = {name: str(tmp_path / name) for name in NAMES}
        return label_file.read(value, [str(tmp_path)], images)

    return read


EXPECTED = {"a.png": "cat", "deep/c.png": "dog"}


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("file,label\na.png,cat\ndeep/c.png,dog\n", ""),
        ("id;x;Class Name\na;1;cat\nc;2;dog\n", ""),
        ("image_path\tspecies\nsome/other/a.png\tcat\ndeep/c.png\tdog\n", None),
        ("\ufefffilename,category\n./a.png,cat\nc.png,dog\n", ""),
        ('"Label","Image"\n"cat","a.png"\n"dog","deep\\c.png"\n', ""),
        ("a.png,cat\ndeep/c.png,dog\n", ""),
        ("where,what\na.png,cat\nc.png,dog\n", ":file=where,label=what"),
        ("file,label\na.png,cat\nb.png,\ndeep/c.png,dog\n", ""),
        ("file,label\na.png,cat\ndeep/c.png,dog\n".encode("utf-16"), ""),
    ],
)
def test_kinds_of_tables(read, content, columns):
    if columns is None:  # a path that is not there
        assert read(content).classes == {"deep/c.png": "dog"}
        return
    labels = read(content, f"labels.csv{columns}")
    assert labels.classes == EXPECTED and labels.splits is None and labels.notes == ()


def test_two_tables_of_one_name(read, tmp_path, monkeypatch):
    """That of the folder is read, and the log says so."""
    content = "file,label\na.png,cat\n"
    monkeypatch.chdir(tmp_path)
    assert read(content).notes == ()  # one file in both places
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (elsewhere / "labels.csv").write_text("file,label\na.png,dog\n")
    labels = read(content)
    path = tmp_path / "labels.csv"
    assert labels.classes == {"a.png": "cat"}
    note = f"--labels=labels.csv: {path} is read, and not {elsewhere / 'labels.csv'}"
    assert labels.notes == (note,)


def test_a_name_in_another_encoding(read):
    assert read("file,label\na.png,Bär\n".encode("latin-1")).classes == {"a.png": "Bär"}


def test_several_columns_with_usual_names(read):
    """The images are in the one that most of them are found by; the choice is said."""
    header = "filePath,fileName,species,class\n"
    content = f"{header}/gone/a.png,a.png,cat,x\n/gone/c.png,c.png,dog,y\n"
    labels = read(content)
    assert labels.classes == {"a.png": "x", "deep/c.png": "y"}
    assert labels.flag == "--labels=labels.csv:file=fileName,label=class"
    labels = read(content, "labels.csv:label=species")
    assert labels.classes == EXPECTED
    assert labels.flag == "--labels=labels.csv:file=fileName,label=species"
    value = "labels.csv:file=fileName,label=species"
    assert read(content, value).flag == f"--labels={value}"
    both_are_right = content.replace("/gone/a", "a").replace("/gone/c", "deep/c")
    assert read(both_are_right).flag == "--labels=labels.csv:file=fileName,label=class"
    assert read("file,label\na.png,cat\n").flag == "--labels=labels.csv"


def test_quotes(read):
    content = 'file,label\na.png,12" lens\nb.png,"12"" lens"\nc.png,"wide,\nold"\r\nd,x\n'
    classes = read(content).classes
    assert classes["a.png"] == classes["b.png"] == '12" lens'
    # Each is closed, and something stands behind it.
    content = '"file" ,label,note\n"a.png" ,cat,"Big" one\ndeep/c.png,dog,"wide,\nold"\n'
    assert read(content).classes == EXPECTED
    assert classes["deep/c.png"] == "wide, old" and classes["deep/d.jpg"] == "x"


def test_names_are_taken_exactly_first(tmp_path):
    """Spaces at the ends, backslashes, bytes that are no UTF-8, names of columns."""
    names = [" a.png", "a.png ", "a.png", "b\\c.png", "caf\udce9.png", "file.png", "label.png"]
    cells = [*names[:4], "caf\\udce9.png", *names[5:]]
    lines = [f"{cell},class {number}" for number, cell in enumerate(cells)]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *lines]))
    images = {name: str(tmp_path / name) for name in names}
    labels = label_file.read("labels.csv", [str(tmp_path)], images)
    assert labels.classes == {name: f"class {number}" for number, name in enumerate(names)}
    assert labels.notes == ()


def test_names_with_line_breaks(tmp_path):
    """As the page to label writes them; the ends of lines may be any."""
    names = ["a\rb.png", "a\nb.png", "a\r\nb.png"]
    images = {name: str(tmp_path / name) for name in names}
    lines = ["file,label", *(f'"{name}",class {number}' for number, name in enumerate(names))]
    for end in ("\r\n", "\n", "\r"):
        (tmp_path / "labels.csv").write_bytes(end.join(lines).encode())
        labels = label_file.read("labels.csv", [str(tmp_path)], images)
        assert labels.classes == {name: f"class {number}" for number, name in enumerate(names)}


def test_a_number_of_the_row_is_no_name(tmp_path):
    """Not even where more images are found by it."""
    images = {name: str(tmp_path / name) for name in ("0.jpg", "1.jpg", "2.jpg")}
    (tmp_path / "labels.csv").write_text("id,image,label\n0,1.jpg,a\n1,2.jpg,b\n2,0.JPG,c\n")
    labels = label_file.read("labels.csv", [str(tmp_path)], images)
    assert labels.classes == {"1.jpg": "a", "2.jpg": "b"}


def test_columns_by_their_images(tmp_path):
    """Names with an ending before numbers, and the one by which most are found."""
    images = {f"{number}.jpg": str(tmp_path / f"{number}.jpg") for number in range(5)}
    table = tmp_path / "labels.csv"
    table.write_text("id,name,label\n" + "".join(f"{i},{4 - i}.jpg,{i}\n" for i in range(1, 5)))
    labels = label_file.read("labels.csv", [str(tmp_path)], images)
    assert labels.classes == {f"{4 - i}.jpg": str(i) for i in range(1, 5)}
    table.write_text("path,image,label\n0.jpg,0.jpg,a\n1.jpg,1.jpg,b\n/gone/2.JPG,2.jpg,c\n")
    assert len(label_file.read("labels.csv", [str(tmp_path)], images).classes) == 3


def test_a_table_without_header_of_names_of_several_images(tmp_path):
    names = ("s1/001.png", "s2/001.png", "s1/002.png")
    (tmp_path / "labels.csv").write_text("001,cat\n002,dog\n")
    images = {name: str(tmp_path / name) for name in names}
    labels = label_file.read("labels.csv", [str(tmp_path)], images)
    assert labels.classes == {"s1/002.png": "dog"} and len(labels.notes) == 1


def test_a_header_with_the_name_of_images(tmp_path):
    """Named columns say that there is one."""
    names = ("s1/image.png", "s2/image.png", "s2/mask.png")
    images = {name: str(tmp_path / name) for name in names}
    table = tmp_path / "labels.csv"
    for header, value in (
        ("image,score,kind", "labels.csv:file=image,label=kind"),
        ("mask,score,kind", "labels.csv:file=mask,label=kind"),
    ):
        table.write_text(f"{header}\ns1/image.png,0.1,cat\ns2/image.png,0.2,dog\n")
        labels = label_file.read(value, [str(tmp_path)], images)
        assert labels.classes == {"s1/image.png": "cat", "s2/image.png": "dog"}


def test_names_of_several_images(tmp_path):
    """They are there, so the line says what to write instead."""
    images = {name: str(tmp_path / name) for name in ("a/x.png", "b/x.png", "b/y.png", "b/y.jpg")}
    table = tmp_path / "labels.csv"
    table.write_text("file,label\nx.png,cat\ny,dog\ny.jpg,dog\na/x.png,cow\n")
    labels = label_file.read("labels.csv", [str(tmp_path)], images)
    assert labels.classes == {"b/y.jpg": "dog", "a/x.png": "cow"}
    (note,) = labels.notes
    message = "2 names of several images not used, e.g. x.png (a/x.png, b/x.png); give paths"
    assert note.endswith(message)
    table.write_text("x.png,cat\n")
    with pytest.raises(UserError, match="no labels for any image; 1 name of several images"):
        label_file.read("labels.csv", [str(tmp_path)], images)


def test_accents_apart_from_their_letters(tmp_path):
    """A Mac writes the names of files so, also into a ZIP; a table rarely has them so."""
    names = [unicodedata.normalize("NFD", name) for name in ("bär.png", "über/é.png")]
    label = unicodedata.normalize("NFD", "Bär")
    images = {name: str(tmp_path / name) for name in names}
    for first, second in (("bär.png", "über/é.png"), ("bär", "é")):
        (tmp_path / "labels.csv").write_text(f"file,label\n{first},Bär\n{second},{label}\n")
        labels = label_file.read("labels.csv", [str(tmp_path)], images)
        assert labels.classes == dict.fromkeys(names, "Bär")


def test_splits_of_a_table(read):
    labels = read("file,label,split\na.png,cat,train\nb.png,cat,valid\nc.png,dog,Test\n")
    assert labels.splits == {"a.png": "train", "b.png": "validation", "deep/c.png": "test"}
    odd = "file,label,set\na.png,cat,blue\n"
    labels = read(odd)
    assert labels.splits is None and "1 split other than train, val and test" in labels.notes[0]
    assert labels.notes[0].endswith("blue; the column is ignored")
    with pytest.raises(UserError, match="1 split other than train, val and test"):
        read(odd, "labels.csv:split=set")


def test_an_unknown_split_among_known_ones(read):
    """Images to test on are not trained on because of one odd word."""
    content = "file,label,split\na.png,cat,dev\nb.png,cat,test\nc.png,dog,exclude\n"
    message = "column split has 1 split other than train, val and test: exclude; write one of these"
    with pytest.raises(UserError, match=f"^--labels=labels.csv: {message}"):
        read(content)
    labels = read(content.replace("exclude", ""))
    assert labels.splits == {"a.png": "validation", "b.png": "test"}


def test_an_image_in_two_splits(read):
    """It would be trained on and tested on."""
    content = "file,label,split\na.png,cat,train\na.png,cat,{}\nb.png,cat,test\n"
    assert read(content.format("training")).splits == {"a.png": "train", "b.png": "test"}
    assert read(content.format("")).splits == {"a.png": "train", "b.png": "test"}
    message = r"1 image in several splits, e.g. a.png \(test and train\); write one split"
    with pytest.raises(UserError, match=f"^--labels=labels.csv: {message}"):
        read(content.format("test"))


def test_missing_values_as_words(read):
    """As pandas writes them as text. They stay classes: NA may be Namibia."""
    labels = read("file,label\na.png,nan\nb.png,NA\nc.png,nan\nd,nancy\n")
    assert set(labels.classes.values()) == {"nan", "NA", "nancy"}
    (note,) = labels.notes
    assert note.startswith("--labels=labels.csv: 3 images of class NA and nan; if that means")


def test_commas_without_quotes(read):
    """They move the cells behind them: no such line gives a label, or another image's."""
    labels = read("file,label\nb.png,cat, black\na,1.png,cat\nc.png,dog,\nd,dog\n")
    assert labels.classes == {"deep/c.png": "dog", "deep/d.jpg": "dog"}
    (note,) = labels.notes
    assert "2 lines with more cells than the header, which" in note
    assert "e.g. b.png, cat, black; write quotes" in note
    labels = read("a.png,cat\nb.png,cat, black\nc.png\nd\n")
    assert labels.classes == {"a.png": "cat"} and "1 line with more cells" in labels.notes[0]
    labels = read("a.png,cat,\nb.png,cat, black\nc.png,dog,\n")
    assert labels.classes == EXPECTED and "1 line with more cells" in labels.notes[0]
    assert read('file,label\na.png,"cat, black"\n').classes == {"a.png": "cat, black"}
    with pytest.raises(UserError, match="no labels for any image; 1 line with more cells than the"):
        read("file,label\na.png,cat, black\n")
    with pytest.raises(UserError, match=r"^--labels=labels\.csv: 1 line with more cells than the"):
        read("file,label,split\na.png,cat, black,test\nb.png,dog,train\n")
    with pytest.raises(UserError, match=r"^--labels=labels\.csv: 1 line with more cells than the"):
        read("file,label,split\na.png,cat, black,test\nb.png,dog,\nc.png,dog,\n")
    labels = read("file,label,split\na.png,train, old,,\nb.png,dog, brown,,x\n")
    assert labels.classes == {"a.png": "train"} and labels.splits is None


def test_what_is_odd_is_one_line_each(read):
    lines = ["file,label", "gone.png,cat", "a.png,Cat", "b.png,cat ", "c.png,Cat", "d,dog"]
    labels = read("\n".join([*lines, "a.png,dog", "gone2.png,dog"]))
    assert labels.classes == {"b.png": "Cat", "deep/c.png": "Cat", "deep/d.jpg": "dog"}
    spelling, unknown, conflicts = labels.notes
    assert "2 labels" not in spelling  # 'cat' is of no image
    assert spelling.endswith("1 label 'cat ' taken as another spelling of 'Cat'")
    assert unknown.endswith("2 files of it not there, e.g. gone.png")
    message = "1 image with different labels in it, which get none, e.g. a.png (Cat and dog)"
    assert conflicts.endswith(message)


@pytest.mark.parametrize(
    ("content", "value", "message"),
    [
        ("file,label\nx.png,cat\n", "labels.csv", "none of its 1 files is there, e.g. x.png"),
        ("file,label\na.png,\n", "labels.csv", "it has no labels for any image"),
        ("what,label\nx.png,cat\n", "labels.csv", "which column has the file is not known of what"),
        ("file,x\na.png,cat\n", "labels.csv:label=y", "no column y for the label, only file, x"),
        ("", "labels.csv", "is empty"),
        (b"\x89PNG\0\0", "labels.csv", "is no text"),
        ("file,label\n".encode("utf-16")[:-1], "labels.csv", "is no text"),
        (
            'file,label\na.png,cat\nb.png,"dog\nc.png,cow\n',
            "labels.csv",
            "can't be read as a table from line 3 on: unexpected end of data; close each quote",
        ),
        (
            'file,label\na.png,6" pot,"open\nb.png,cat,"x"y\nc.png,cow\n',
            "labels.csv",
            "can't be read as a table from line 2 on",
        ),
        (
            'file,label\na.png,"' + "x" * 200_000 + '"\n',
            "labels.csv",
            r"can't be read as a table from line 2 on: field larger",
        ),
        ("file,label\n", "lables.csv", r"no such file in .* Did you mean 'labels.csv'"),
    ],
)
def test_tables_that_are_refused(read, content, value, message):
    with pytest.raises(UserError, match=f"^--labels={value}: .*{message}"):
        read(content, value)
