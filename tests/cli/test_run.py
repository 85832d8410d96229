"""`run`, `status` and `abandon`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renku_store import open_store
from tests.cli.conftest import BLUEPRINT, Call, Called, program
from tests.cli.test_output import on_terminal

FAILING = BLUEPRINT.replace(
    "'cat request.json > outputs/text'",
    "'grep -q tw[o] request.json && { printf \"\\033[31mno\\nreason\" >&2; exit 3; }; cat request.json > outputs/text'",
)
SLOW = BLUEPRINT.replace(
    "'cat request.json > outputs/text'",
    "'grep -q on[e] request.json || sleep 60; cat request.json > outputs/text'",
)


def _reset(call: Call, place: Path, blueprint: str) -> None:
    (place / "other.yaml").write_text(blueprint)
    assert call("set", "@blueprint", "@other.yaml").code == 0


def test_a_run_publishes_and_says_what_it_did(call: Call, movie: str) -> None:
    """The document has what the contract names; progress is a line per finished job on standard error."""
    done = call("run", "--json")
    report = done.json
    assert (done.code, report["revision"], report["status"]) == (0, "rev-0001", "published")
    assert (report["made"], report["reused"], report["cost"]) == (4, 0, 0.0)
    assert len(report["run"]) == 36
    assert {"status", "attempts", "cost", "error"} <= set(report["jobs"]["book"])
    assert report["jobs"]["book"]["error"] is None
    finished = [line.split("  ")[:2] for line in done.err.splitlines()]
    assert sorted(finished) == [["made", "book"], *(["made", f"word[{n}]"] for n in range(3))]


def test_a_second_run_makes_nothing(call: Call, built: str) -> None:
    """Unchanged is a success; run is null, the revision is the current one."""
    done = call("run", "--json")
    assert (done.code, done.json["status"]) == (0, "unchanged")
    assert (done.json["run"], done.json["revision"], done.json["made"]) == (None, "rev-0001", 0)
    assert call("run").out == "unchanged rev-0001: made 0, reused 0, 4 clean, $0.00.\n"


def test_going_back_to_an_earlier_input_reuses_its_results(call: Call, built: str) -> None:
    """What was made once is not made twice."""
    for greeting in ("hi", "hello"):
        assert call("set", "greeting", greeting).code == 0
        report = call("run", "--json").json
    assert (report["revision"], report["made"], report["reused"]) == ("rev-0003", 0, 4)


def test_a_failed_job_ends_with_1_and_is_told_with_the_end_of_what_it_wrote(
    call: Call, movie: str, place: Path
) -> None:
    """Its dependents are upstream failed, the others are made, nothing is published, and the next run goes on."""
    _reset(call, place, FAILING)
    done = call("run")
    assert done.code == 1
    assert "word[1]\tProducerError\t" in done.out
    assert "    \\x1b[31mno\n    reason\n" in done.out
    assert "failed: made 2, reused 0, 1 failed, 1 upstream failed, $0.00." in done.out
    status = call("status", "--json").json
    assert (status["revision"], [run["status"] for run in status["runs"]]) == (None, ["failed"])
    again = call("run", "--json")
    assert (again.code, again.json["status"], again.json["run"]) == (1, "failed", status["runs"][0]["run"])
    assert (again.json["made"], again.json["reused"]) == (0, 2)
    assert again.json["jobs"]["word[1]"]["error"]["kind"] == "ProducerError"
    _reset(call, place, BLUEPRINT)
    assert call("run").code == 0
    assert call("status", "--json").json["runs"] == []


def test_an_unfinished_run_can_be_abandoned(call: Call, movie: str, place: Path) -> None:
    """It is gone from the status; a run that is not there is an error."""
    _reset(call, place, FAILING)
    run = call("run", "--json").json["run"]
    assert call("abandon", run, "--json").json == {"run": run, "status": "abandoned"}
    assert call("status", "--json").json["runs"] == []
    done = call("abandon", run, "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")


def _started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "renku-store"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for_line(process: subprocess.Popen[str], word: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return
    pytest.fail("the program ended before it said so")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_keeps_what_is_finished(call: Call, movie: str, place: Path, number: signal.Signals) -> None:
    """The second time, running jobs are cancelled; the code is 130, and the next run makes only the rest."""
    _reset(call, place, SLOW)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which these tests themselves may have been told to ignore
    with _started("run", "--json", "-c", "3") as process:
        signal.signal(signal.SIGHUP, before)
        _wait_for_line(process, "made  word[0]")
        process.send_signal(number)
        _wait_for_line(process, "Waiting for word[")
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 130
    report = json.loads(out)
    assert (report["status"], report["made"]) == ("interrupted", 1)
    assert "Cancelling" in err
    assert [run["status"] for run in call("status", "--json").json["runs"]] == ["interrupted"]
    assert f"{report['run']}\tinterrupted\t" in call("status").out
    assert call("rebuild").code == 0
    assert [run["status"] for run in call("status", "--json").json["runs"]] == ["interrupted"]
    _reset(call, place, BLUEPRINT.replace("'cat request", "'true; cat request"))
    assert call("run", "--json").json["status"] == "published"


def test_fail_fast_begins_nothing_after_a_failure(call: Call, movie: str, place: Path) -> None:
    """The other way, which is the default, all that does not need what failed is made."""
    _reset(call, place, BLUEPRINT.replace("cat request.json > outputs/text", "exit 3"))
    done = call("run", "--json", "-c", "1", "--fail-fast")
    fast = done.json
    assert "A job has failed: nothing more is begun. No other job is running: the run ends." in done.err
    words = sorted(result["status"] for job, result in fast["jobs"].items() if job.startswith("word["))
    assert (fast["status"], fast["jobs"]["book"]["status"]) == ("failed", "upstream failed")
    assert words == ["cancelled", "cancelled", "failed"]
    assert call("abandon", fast["run"]).code == 0
    slow = call("run", "--json", "-c", "1", "--keep-going").json
    words = sorted(result["status"] for job, result in slow["jobs"].items() if job.startswith("word["))
    assert (slow["status"], words) == ("failed", ["failed"] * 3)


def test_events_are_json_lines_in_a_file_and_are_appended(call: Call, movie: str, place: Path) -> None:
    """Typed events of each run, from its start."""
    assert call("run", "--events", "events.jsonl").code == 0
    assert call("set", "greeting", "hi").code == 0
    assert call("run", "--events", "events.jsonl").code == 0
    events = [json.loads(line) for line in (place / "events.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("run-started") == 2
    assert kinds[0] == "run-started"
    assert {event["job"] for event in events if event["event"] == "job-finished"} >= {"book", "word[0]"}
    assert len({event["run"] for event in events}) == 2


def test_events_say_why_each_job_runs(call: Call, movie: str, place: Path) -> None:
    """The reasons are those of the plan, so that the tree of causes can be drawn from the events alone."""
    assert call("run").code == 0
    assert call("set", "greeting", "hi").code == 0
    planned = call("plan", "--json").json["jobs"]
    assert call("run", "--events", "why.jsonl").code == 0
    begun = json.loads((place / "why.jsonl").read_text().splitlines()[0])
    assert begun["data"]["reasons"] == {job: entry["reasons"] for job, entry in planned.items() if entry["reasons"]}
    assert {"kind": "input changed", "subject": "greeting"}.items() <= begun["data"]["reasons"]["word[0]"][0].items()


def test_events_on_standard_output_come_before_the_document(call: Call, movie: str) -> None:
    """With `--events -` every line is JSON, and the last one is the report; without --json its text goes elsewhere."""
    lines = [json.loads(line) for line in call("run", "--events", "-", "--json").out.splitlines()]
    assert lines[0]["event"] == "run-started"
    assert lines[-1]["status"] == "published"
    assert call("set", "greeting", "hi").code == 0
    done = call("run", "--events", "-")
    assert all("event" in json.loads(line) for line in done.out.splitlines())
    assert "published rev-0002" in done.err


CHATTY = """\
name: chatty
inputs: {text: {type: string, default: hello}}
producers:
  said:
    run: python:chatterbox.say
    inputs: {text: text}
    outputs: {text: {mimeType: text/plain}}
  shouted:
    run: python:chatterbox.shout
    inputs: {text: text}
    outputs: {text: {mimeType: text/plain}}
"""
CHATTERBOX = """\
import sys
import threading

print("NOISE of the import")

async def say(request):
    print("NOISE of a coroutine")
    sys.stdout.write("NOISE without a line end")
    return {"text": request.inputs["text"].value}

def shout(request):
    thread = threading.Thread(target=print, args=["NOISE of a thread"])
    thread.start()
    thread.join()
    return {"text": "oh"}
"""


@pytest.mark.parametrize("options", [["--json"], ["--json", "--events", "-"], ["--events", "-"], []])
def test_what_a_producer_prints_goes_to_standard_error(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """A function that runs in this process and prints leaves standard output to what the command promises there."""
    (place / "chatterbox.py").write_text(CHATTERBOX)
    (place / "chatty.yaml").write_text(CHATTY)
    monkeypatch.syspath_prepend(place)
    assert call("init", "chatty", "--blueprint", "chatty.yaml").code == 0
    done = call("run", *options)
    sys.modules.pop("chatterbox")
    assert (done.code, done.out.count("NOISE"), done.err.count("NOISE")) == (0, 0, 4), done.err
    if options == ["--json"]:
        assert done.json["status"] == "published"
    elif options:
        assert all(isinstance(json.loads(line), dict) for line in done.out.splitlines())


DIRECT = """\
import ctypes
import os
import subprocess

def say(request):
    os.write(1, b"NOISE of a descriptor\\n")
    subprocess.run(["echo", "NOISE of a program"], check=True)
    ctypes.CDLL(None).puts(b"NOISE of C, kept until the end")
    return {"text": "said"}

shout = say
"""


@pytest.mark.parametrize("options", [["--json"], ["--json", "--events", "-"], []])
def test_what_is_written_past_python_goes_to_standard_error(call: Call, place: Path, options: list[str]) -> None:
    """A function may write to the descriptor itself, and programs that it starts, and C, which does so at the end."""
    (place / "chatterbox.py").write_text(DIRECT)
    (place / "chatty.yaml").write_text(CHATTY)
    assert call("init", "chatty", "--blueprint", "chatty.yaml").code == 0
    done = subprocess.run(
        [sys.executable, "-m", "renku_cli", "--movie", "chatty", "run", *options],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *sys.path]), "PYTHONWARNINGS": "error"},
    )
    assert (done.stdout.count("NOISE"), done.stderr.count("NOISE")) == (0, 6), done.stdout + done.stderr
    if options == ["--json"]:
        assert json.loads(done.stdout)["status"] == "published"
    elif options:
        assert all(isinstance(json.loads(line), dict) for line in done.stdout.splitlines())
    else:
        assert "published" in done.stdout


@pytest.mark.parametrize("arguments", [["plan"], ["run", "--dry-run"], ["run"]])
def test_what_a_package_prints_when_it_is_loaded_goes_to_standard_error(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """A plan looks for prices and handlers in packages: one that prints leaves the document alone."""
    installed = place / "acme-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[renku_store.producers]\nacme = acme_prints:register\n")
    (place / "acme_prints.py").write_text(
        "from renku_store import Produced\n"
        "print('NOISE')\n"
        "async def paint(job, context):\n    return Produced({'text': 'painted'})\n"
        "def register(registry):\n    registry.register('acme/paint@1', paint, cost=0.5)\n"
    )
    (place / "acme.yaml").write_text(
        "name: acme\nproducers:\n  one:\n    run: acme/paint@1\n    outputs: {text: {mimeType: text/plain}}\n"
    )
    monkeypatch.syspath_prepend(place)
    assert call("init", "acme", "--blueprint", "acme.yaml").code == 0
    done = call(*arguments, "--json")
    sys.modules.pop("acme_prints")
    assert (done.code, done.err.count("NOISE")) == (0, 1), done.err
    assert done.json["revision"] == "rev-0001"


def test_nobody_reading_progress_or_events_is_no_reason_to_stop(call: Call, movie: str, place: Path) -> None:
    """A paid run goes on when the terminal or the reader of the events is gone."""
    with _started("run", "--events", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stderr.close()
        process.wait(timeout=600)
    assert call("log", "--json").json[0]["revision"] == "rev-0001"


def test_a_full_disk_behind_the_events_is_no_reason_to_stop(call: Call, movie: str) -> None:
    """The run is told of it and goes on."""
    done = call("run", "--events", "/dev/full")
    assert done.code == 0
    assert "cannot be written any more" in done.err


def test_private_inputs_are_published_with_the_run(call: Call, built: str, place: Path) -> None:
    """--inputs and --blueprint count for this run, and are part of what it publishes."""
    (place / "tonight.json").write_text('{"greeting": "good night"}')
    (place / "renamed.yaml").write_text(BLUEPRINT.replace("name: tiny", "name: tonight"))
    report = call("run", "--inputs", "tonight.json", "--blueprint", "renamed.yaml", "--json").json
    assert (report["revision"], report["made"]) == ("rev-0002", 4)
    inputs = call("inspect", "--json").json["inputs"]
    assert inputs["greeting"]["value"] == "good night"
    assert "name: tonight" in inputs["@blueprint"]["value"]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["-c", "0"], "InvalidValueError"),
        (["-c", "x"], "InvalidValueError"),
        (["--inputs", "none"], "NotFoundError"),
        (["--inputs", "list.yaml"], "BlueprintError"),
        (["--blueprint", "a", "--graph", "b"], "UsageError"),
        (["--events", "none/there"], "UsageError"),
        (["--inputs", "unknown.yaml"], "NotFoundError"),
    ],
)
def test_a_wrong_run_is_refused_before_anything_happens(
    call: Call, movie: str, place: Path, arguments: list[str], kind: str
) -> None:
    """Bad options cost nothing."""
    (place / "list.yaml").write_text("[]")
    (place / "unknown.yaml").write_text("gretting: x")
    done = call("run", *arguments, "--json")
    assert (done.code, done.error["kind"]) == (2, kind)
    assert call("status", "--json").json["runs"] == []


@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_a_mistake_that_only_values_show_is_told_with_the_file_that_was_given(
    call: Call, movie: str, place: Path, options: list[str]
) -> None:
    """Which jobs there are is known once the blueprint is expanded: --blueprint's file and line are named then, too."""
    wrong = BLUEPRINT + "overrides:\n  'word[7]': {config: {speed: 2}}\n"
    (place / "wrong.yaml").write_text(wrong)
    done = call("run", "--blueprint", "wrong.yaml", *options, "--json")
    assert (done.code, done.error["kind"]) == (2, "BlueprintError")
    line = len(wrong.splitlines())
    assert done.error["message"] == f"wrong.yaml:{line}: There is no job word[7] to override."
    assert "word[" in done.error["hint"]


@pytest.mark.parametrize("command", [("run",), ("run", "--dry-run")])
def test_names_with_an_at_sign_that_nobody_knows_are_refused(
    call: Call, movie: str, place: Path, command: tuple[str, ...]
) -> None:
    """One sentence names all of them, and the hint the nearest right one; they would be published and do nothing."""
    (place / "tonight.yaml").write_text('"@bluprint": x\n"@config": {}\n"@other": 1\ngreeting: hi\n')
    done = call(*command, "--inputs", "tonight.yaml", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert done.error["message"] == "There are no inputs @bluprint, @other."
    assert done.error["hint"] == "Did you mean @blueprint?"
    (place / "tonight.yaml").write_text('"@other": 1\n')
    done = call(*command, "--inputs", "tonight.yaml", "--json")
    assert done.error["message"] == "There is no input @other."
    assert done.error["hint"] == "Of names with an @ there are @blueprint and @config only."
    assert call("status", "--json").json["runs"] == []


def test_a_dry_run_says_that_it_has_no_events(call: Call, movie: str, place: Path) -> None:
    """Whatever the place for them is: it makes no file, and leaves standard output as it is."""
    alone = call("run", "--dry-run", "--json")
    for target in ("none/there", "events.jsonl", "-"):
        done = call("run", "--dry-run", "--events", target, "--json")
        assert (done.code, done.json["layers"]) == (0, alone.json["layers"])
        assert "A dry run has no events" in done.err
    assert not (place / "events.jsonl").exists()


def test_the_setting_gives_the_concurrency(call: Call, movie: str) -> None:
    """A wrong one in the config file is told of like a wrong option."""
    assert call("config", "concurrency", "auto").code == 0
    assert call("run").code == 0


def test_a_terminal_shows_the_run_live(call: Call, movie: str) -> None:
    """A bar, jobs and a summary, drawn over; the last line stays."""
    shown = on_terminal("run")
    assert "\x1b[?25l" in shown
    assert "4 of 4 jobs, 4 made" in shown
    assert "\x1b[32mpublished\x1b[0m rev-0001: made 4, reused 0, $0.00." in shown


def test_a_movie_without_a_blueprint_cannot_run(call: Call) -> None:
    """The hint says how to give it one."""
    assert call("init", "bare").code == 0
    done = call("run", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert "@blueprint" in done.error["hint"]


@pytest.mark.parametrize(("on_conflict", "code"), [("fail", 3), ("rebase", 0)])
def test_a_lost_race_ends_as_asked(call: Call, built: str, place: Path, on_conflict: str, code: int) -> None:
    """Somebody else published rev-0002 while our run was under way: it fails with 3, or publishes both as rev-0003."""
    slow = BLUEPRINT.replace("'cat request.json", "'until test -e GO; do sleep 0.02; done; cat request.json").replace(
        "GO", str(place / "go")
    )
    (place / "slow.yaml").write_text(slow)
    arguments = ("--blueprint", "slow.yaml", "--json", "-c", "1", "--on-conflict", on_conflict)
    with _started("run", *arguments) as process:
        for _ in range(200):
            if call("status", "--json").json["runs"]:
                break
            time.sleep(0.05)
        (place / "hi.yaml").write_text("greeting: hi\n")
        assert call("run", "--inputs", "hi.yaml").code == 0
        (place / "go").write_text("")
        out, err = process.communicate(timeout=600)
    assert process.returncode == code
    if code:
        assert json.loads(err.splitlines()[-1])["error"]["kind"] == "ManifestConflictError"
    else:
        assert json.loads(out)["revision"] == "rev-0003"
        assert call("inspect", "--json").json["inputs"]["greeting"]["value"] == "hi"


def test_the_program_runs_as_a_module(movie: str) -> None:
    """`python -m renku_cli` is the same program."""
    done = subprocess.run([sys.executable, "-m", "renku_cli", "movies"], capture_output=True, text=True, check=True)
    assert Called(done.returncode, done.stdout, "").out.splitlines()[1].startswith("tiny\t-")
    assert program("movies").stdout == done.stdout


def test_a_run_whose_holder_is_gone_is_not_shown_as_running(call: Call, movie: str, place: Path) -> None:
    """Nobody works on it: it was interrupted, and the next run takes it up."""
    with open_store(place / "builds") as store:
        opened = store.movie(movie)
        token = opened.leases.start(opened.events.new_id(), base_revision=None, edits_through=0)
        opened.leases.release(token)
    shown = call("status").out
    assert f"{token.run}\tinterrupted\t" in shown
    assert "running\t" not in shown
    (run,) = call("status", "--json").json["runs"]
    assert (run["status"], run["alive"]) == ("interrupted", False)


def test_what_a_person_wants_of_one_run(call: Call, built: str) -> None:
    """Targets, another take, a pin and a depth; what is left out is said so, and a dry run says it before."""
    assert call("set", "greeting", "hi").code == 0
    plan = call("run", "--dry-run", "--target", "word[0]", "--json").json
    assert plan["layers"] == [["word[0]"]]
    assert (plan["jobs"]["word[1]"]["leftOut"], plan["choices"]["targets"]) == (True, ["word[0]"])
    assert "1 job to run, 0 clean, 3 left as they are" in call("run", "--dry-run", "--target", "word[0]").out
    report = call("run", "--target", "word[0].text", "--json").json
    assert (report["status"], report["made"]) == ("published", 1)
    assert {job: result["status"] for job, result in report["jobs"].items()} == {
        "word[0]": "made", "word[1]": "skipped", "word[2]": "skipped", "book": "skipped"
    }  # fmt: skip
    assert call("inspect", "--json").json["artefacts"]["book.text"]["outdated"] is True
    report = call("run", "--regen", "word[0]", "--pin", "word[1]", "--up-to-layer", "0", "--json").json
    assert {job: result["status"] for job, result in report["jobs"].items()} == {
        "word[0]": "made", "word[1]": "clean", "word[2]": "made", "book": "skipped"
    }  # fmt: skip


def test_choices_that_cannot_be_are_refused(call: Call, built: str) -> None:
    """With 2, before anything is begun."""
    both = call("run", "--regen", "word", "--pin", "word[1].text")
    assert (both.code, "word[1] is to be made anew and kept as it is" in both.err) == (2, True)
    unknown = call("run", "--target", "wrd[0]")
    assert (unknown.code, "Did you mean word[0]" in unknown.err) == (2, True)
    for layer in ("-1", "99999999999999999999"):
        refused = call("run", "--regen", "word", "--up-to-layer", layer)
        assert (refused.code, "--up-to-layer" in refused.err) == (2, True)
    assert call("status", "--json").json["runs"] == []


def test_what_succeeded_can_be_published(call: Call, built: str, place: Path) -> None:
    """The status is partial, the exit code 1, and the rest keeps its older values."""
    _reset(call, place, FAILING)
    assert call("set", "greeting", "hi").code == 0
    done = call("run", "--allow-partial", "--json")
    assert (done.code, done.json["status"], done.json["revision"]) == (1, "partial", "rev-0002")
    outdated = {key for key, entry in call("inspect", "--json").json["artefacts"].items() if entry.get("outdated")}
    assert outdated == {"word[1].text", "book.text", "book.index"}


def test_a_run_tells_of_unfinished_ones_that_it_leaves_as_they_are(call: Call, movie: str, place: Path) -> None:
    """Each time on standard error, with the way out; not of the one that it takes up, and never once there is none."""
    (place / "failing.yaml").write_text(FAILING)
    failed = call("run", "--blueprint", "failing.yaml", "--json").json["run"]
    once = f"The unfinished run {failed} is left as it is. What it made stays reusable;"
    done = call("run", "--target", "word[0]", "--json")
    assert (done.json["status"], done.err.count(once)) == ("published", 1)
    assert f"`renku-store abandon {failed}` gives it up." in done.err
    assert "unfinished" not in call("run", "--json").err, "that takes it up, and it fails again"
    (place / "hi.yaml").write_text("greeting: hi\n")
    assert call("run", "--blueprint", "failing.yaml", "--inputs", "hi.yaml").code == 1
    (place / "ho.yaml").write_text("greeting: ho\n")
    done = call("run", "--inputs", "ho.yaml")
    assert "2 unfinished runs are left as they are. What they made stays reusable;" in done.err
    for run in call("status", "--json").json["runs"]:
        assert call("abandon", run["run"]).code == 0
    assert "unfinished" not in call("run").err + call("status").err


def test_status_says_what_can_be_done_with_unfinished_runs(call: Call, movie: str, place: Path) -> None:
    """On standard error, for people only."""
    _reset(call, place, FAILING)
    assert call("run").code == 1
    assert "1 unfinished run: `renku-store run` takes up the newest that still fits" in call("status").err
    assert call("status", "--json").err == ""
