"""Atomic checkpoints: a folder step-NNNNNN with a MANIFEST of hashes and sizes, whole under its name or not there.

Standard library only.
"""
import hashlib
import os
import shutil


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _manifest_line(path, name):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
        size = file.tell()
        os.fsync(file.fileno())
    return f"{digest.hexdigest()} {size} {name}\n"


def remove_leftovers(folder):
    """Removes what writers that were killed left behind. Only while nobody else can be saving here."""
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        if name.startswith(".step-"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def save(folder, step, writers):
    """Saves the files of `writers` (name -> function that writes to an open binary file) and returns the path.

    Written under a temporary name, synced, then renamed: a process killed at any point leaves no half checkpoint
    that could be taken for a whole one.
    """
    os.makedirs(folder, exist_ok=True)
    final = os.path.join(folder, f"step-{step:06d}")
    beside = os.path.join(folder, f".step-{step:06d}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    os.mkdir(beside)
    lines = []
    for name, write in writers.items():
        path = os.path.join(beside, name)
        with open(path, "wb") as file:
            write(file)
        lines.append(_manifest_line(path, name))
    manifest = os.path.join(beside, "MANIFEST")
    with open(manifest, "w", encoding="utf-8") as file:
        file.writelines(lines)
    _sync(manifest)
    _sync(beside)
    replaced = None
    if os.path.lexists(final):  # of an attempt before this one, perhaps damaged: a full folder can't be renamed over
        replaced = f"{beside}.replaced"
        os.rename(final, replaced)
    os.rename(beside, final)
    _sync(folder)
    if replaced:
        shutil.rmtree(replaced, ignore_errors=True)
    return final
