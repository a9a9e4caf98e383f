"""The whole way of real files: dropped while the agent runs, converted, queued, delivered to a directory and to nginx."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest

from support.agent import drop, drop_slowly, running
from support.expectations import EXPECTED, figures
from support.ledger import account, folder_files, received, sha256

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300), pytest.mark.xdist_group("acceptance")]

FILES = [one for one in EXPECTED if one.converter in ("junit", "csv", "json", "wsjf")]
"""Not the spreadsheets, whose converter is a distribution of its own."""


def test_real_files_to_a_directory_and_to_nginx(make_agent, nginx):
    assert len(FILES) >= 200
    agent = make_agent(url=nginx.url, settle=0.5)
    inbox = agent.home / "inbox"
    contents = {one.file.replace("/", "__"): one.path.read_bytes() for one in FILES}
    with running(agent):
        quick = list(contents)[::2]
        slow = list(contents)[1::2]

        def drop_some(names: list[str]) -> None:
            for name in names:
                drop_slowly(contents[name], inbox, name, pieces=5, over=0.5)

        writers = [threading.Thread(target=drop_some, args=(slow[number::8],)) for number in range(8)]
        for writer in writers:
            writer.start()
        for name in quick:
            drop(contents[name], inbox, name)
        for writer in writers:
            writer.join()
        agent.wait_for(
            lambda: not [name for name in contents if (inbox / name).exists()], "every file to be claimed", 60
        )
        agent.wait_for(agent.idle, "the agent to be idle", 120)
        parked = agent.get("/v1/files?state=parked")["items"]
        assert not parked, [(file["name"], file["reason"], file["error"]) for file in parked]

        by_content = Counter(map(sha256, contents.values()))
        ended = account(inbox, contents)
        problems = []
        for files in (folder_files(agent.home / "reports"), nginx.files()):
            reports = received(files)
            for one in FILES:
                digest = sha256(one.path.read_bytes())
                mine = reports.get(digest, [])
                if len(mine) != one.reports * by_content[digest]:
                    problems.append(f"{one.file}: {len(mine)} reports, {one.reports} expected")
                elif mine and figures(one.converter, mine[: one.reports]) != dict(one.figures):
                    problems.append(
                        f"{one.file}: {figures(one.converter, mine[: one.reports])}, expected {one.figures}"
                    )
            assert set(reports) <= {sha256(data) for data in contents.values()}
        for one in FILES:
            name = one.file.replace("/", "__")
            expected = "done" if one.readable else "failed"
            if ended[name] != expected:
                problems.append(f"{one.file}: lies in {ended[name]}, expected {expected}")
            reason = inbox / "failed" / f"{name}.reason.json"
            if reason.exists() == one.readable:
                problems.append(f"{one.file}: a reason file where none should be, or none where one should be")
            elif not one.readable:
                told = json.loads(reason.read_bytes())
                if one.code != "NotMine" and one.code not in json.dumps(told):
                    problems.append(f"{one.file}: {told['code']}, expected {one.code}")
        assert not problems, "\n".join(problems)
        assert agent.stop() == 0
