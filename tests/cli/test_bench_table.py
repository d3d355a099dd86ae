"""A benchmark run ends with its tables, for people and for programs."""

import json

from commands import verax
from verax import image as images


def test_a_run_ends_with_a_table_on_the_console_and_in_the_json(pair, scene, tmp_path):
    photo, prior = (images.read(path).pixels for path in pair)
    for name, picture in (("input", photo), ("target", scene), ("generated", prior)):
        (tmp_path / "data" / name).mkdir(parents=True)
        images.write(tmp_path / "data" / name / "a.png", picture)
    command = ("bench", "run", "--dataset", tmp_path / "data", "--task", "lowlight",
               "--method", "identity", "--method", "raw-prior", "--metric", "psnr",
               "-o", tmp_path / "run")  # fmt: skip

    words, record = verax(*command).stdout, json.loads(verax(*command, "--json").stdout)

    (table,) = record["tables"]
    best, other = table["lines"]
    assert words.startswith("lowlight, psnr dB, 1 picture\n")
    assert best["line"].startswith("raw-prior")
    assert best["mean"] > other["mean"]
    assert f"{best['mean']:.3f}" in words
    assert "nan" not in words  # one picture has no interval
    assert best["low"] is None
