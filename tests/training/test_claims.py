"""Shards that several machines tokenise: one is at each, and what a dead one had is taken over."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from simba_music.training.corpus import tokens
from simba_music.training.corpus.store import MANIFEST, read_rows
from simba_music.training.corpus.tokens import encode
from simba_music.training.corpus.tokens.access import TOKENS
from simba_music.training.corpus.tokens.claims import claimed

ELSEWHERE = {"host": "another machine", "process": 1}


def claim_of(folder, name, owner, age_s=0.0, number=0):
    path = folder / f"{name}.claim-{number}"
    path.write_text(json.dumps(owner))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_one_of_many_has_a_shard(tmp_path):
    begin, won = threading.Barrier(8), []

    def work():
        begin.wait()
        with claimed(tmp_path, "0001") as own:
            won.append(own)
            begin.wait()  # nobody lets go before all have tried

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1 and not list(tmp_path.iterdir())


def test_a_claim_is_renewed_while_its_owner_works_and_void_once_it_is_old(tmp_path):
    claim_of(tmp_path, "0001", ELSEWHERE)
    with claimed(tmp_path, "0001") as own:
        assert not own
    assert len(list(tmp_path.iterdir())) == 1  # another's is left alone
    old = claim_of(tmp_path, "0001", ELSEWHERE, age_s=10)
    with claimed(tmp_path, "0001", stale_s=0.4) as own:
        assert own and (tmp_path / "0001.claim-1").exists()
        time.sleep(0.8)
        with claimed(tmp_path, "0001", stale_s=0.4) as second:
            assert not second
    assert not old.exists() and not list(tmp_path.iterdir())


def test_a_dead_process_of_this_machine_has_no_claim(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    claim_of(tmp_path, "0001", {"host": socket.gethostname(), "process": gone.pid})
    with claimed(tmp_path, "0001") as own:
        assert own
    assert not list(tmp_path.iterdir())


def test_what_fails_lets_go_of_its_claim(tmp_path):
    with pytest.raises(ZeroDivisionError), claimed(tmp_path, "0001"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_machines_share_a_corpus_and_end_when_all_of_it_has_codes(
    tokenised, codec_folder, tmp_path, monkeypatch
):
    corpus = tmp_path / "corpus"
    shutil.copytree(tokenised, corpus)
    shutil.rmtree(corpus / TOKENS)
    (corpus / TOKENS).mkdir()
    shards = list(encode.token_shards(corpus))
    assert len(shards) > 1 and list(read_rows(corpus / MANIFEST))
    other = claim_of(corpus / TOKENS, shards[0], ELSEWHERE)
    looked = []

    def wait(seconds):
        looked.append(sorted(p.stem for p in (corpus / TOKENS).glob("*.npy")))
        os.utime(other, (time.time() - 1000,) * 2)  # its machine has died

    def copy(corpus, name, *_):
        shutil.copy(tokenised / TOKENS / f"{name}.npy", corpus / TOKENS)

    monkeypatch.setattr(encode.time, "sleep", wait)
    monkeypatch.setattr(encode, "encode_shard", copy)
    tokens.encode_corpus(corpus, codec_folder, workers=1)
    assert looked == [sorted(shards[1:])]
    assert all((corpus / TOKENS / f"{name}.npy").exists() for name in shards)
    assert not list((corpus / TOKENS).glob("*.claim-*"))
