from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from greenlove_mlflow.files import (
    UnsafePathError,
    check_private_folder,
    make_private_folders,
    open_private,
    private_subfolders,
    read_private,
    whole_file,
    write_private,
    write_whole,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    write_whole(target, "old")

    class StopError(Exception): ...

    with pytest.raises(StopError), whole_file(target) as temporary:  # noqa: PT012 - it is the block that fails
        temporary.write_text("half")
        assert temporary.suffix == ".csv"
        raise StopError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a") == 0o640


def test_a_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_private(tmp_path / "a", "x")
        os.close(open_private(tmp_path / "b", os.O_WRONLY | os.O_CREAT))
        folder = make_private_folders(tmp_path, "one", "two")
    finally:
        os.umask(before)
    assert [mode(tmp_path / name) for name in ("a", "b")] == [0o600, 0o600]
    assert [mode(each) for each in (folder, folder.parent)] == [0o700, 0o700]


def test_rights_that_others_have_to_a_folder_of_ours_are_taken_away(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours").chmod(0o777)
    check_private_folder(tmp_path / "ours")
    assert mode(tmp_path / "ours") == 0o700


def test_a_link_is_no_folder_and_no_file_of_ours(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "secret").write_text("key")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafePathError):
        check_private_folder(tmp_path / "linked")
    with pytest.raises(UnsafePathError):
        make_private_folders(tmp_path, "linked", "below")
    with pytest.raises(OSError):
        read_private(tmp_path / "file", limit_bytes=100)
    assert private_subfolders(tmp_path) == [tmp_path / "real"]
    assert private_subfolders(tmp_path / "linked") == []


def test_a_hard_link_to_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    os.link(tmp_path / "secret", tmp_path / "artifact")
    with pytest.raises(UnsafePathError, match="second name"):
        read_private(tmp_path / "artifact", limit_bytes=100)


def test_a_pipe_holds_up_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        read_private(tmp_path / "pipe", limit_bytes=100)
    with pytest.raises(OSError):
        os.close(open_private(tmp_path / "pipe", os.O_RDWR))


def test_a_folder_where_a_file_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        read_private(tmp_path / "folder", limit_bytes=100)


def test_a_file_longer_than_it_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x" * 101)
    with pytest.raises(UnsafePathError, match="longer"):
        read_private(tmp_path / "long", limit_bytes=100)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_what_another_user_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    for name in ("folder", "file"):
        os.chown(tmp_path / name, 65534, 65534)
    with pytest.raises(UnsafePathError, match="another user"):
        check_private_folder(tmp_path / "folder")
    with pytest.raises(UnsafePathError, match="another user"):
        read_private(tmp_path / "file", limit_bytes=100)
