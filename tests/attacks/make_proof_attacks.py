"""Makes the stored attacks on envelopes, keys, notes, proofs, receipts and ledgers.

Run as `python -m tests.attacks.make_proof_attacks`.

Each attack is data: its name, the bytes a verifier is given, and the machine codes it must answer with. Keys come from
fixed seeds and Ed25519 signs the same way every time, so making them again changes nothing.
"""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opsascode.proof import (
    Ledger,
    Statement,
    make_receipt,
    open_envelope,
    parse_strict,
    seal,
    sha256_digest,
)
from opsascode.proof._envelope import PAYLOAD_TYPE, pre_authentication
from opsascode.proof._keys import KeySigner
from opsascode.proof._note import sign_note
from opsascode.proof._segments import checkpoint_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Case = dict[str, Any]

HERE = Path(__file__).parent
ORIGIN = "opsascode/attacked"
_L = 2**252 + 27742317777372353535851937790883648493  # the order of Ed25519's group, RFC 8032, 5.1
_P = 2**255 - 19


def signer(seed: int) -> KeySigner:
    return KeySigner(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


MACHINE, STRANGER = signer(1), signer(2)


def statement(kind: str = "run-start", name: str = "run-0", **predicate: Any) -> Statement:
    return Statement(
        predicate_type=f"urn:opsascode:{kind}:v1",
        subject_name=name,
        subject_digest=sha256_digest(b"plan"),
        predicate=predicate,
    )


def sealed(payload: bytes, payload_type: str = PAYLOAD_TYPE, by: KeySigner = MACHINE) -> dict[str, Any]:
    """An envelope that is rightly signed, whatever it holds."""
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [
            {
                "keyid": by.public_key.keyid,
                "sig": base64.b64encode(by.sign(pre_authentication(payload_type, payload))).decode(),
            }
        ],
    }


def good_payload() -> dict[str, Any]:
    return parse_strict(open_envelope(seal(statement(), MACHINE), [MACHINE.public_key]).payload)


def said(**changes: Any) -> str:
    """A rightly signed statement with some of its parts changed; None takes a part away."""
    payload = {key: value for key, value in {**good_payload(), **changes}.items() if value is not None}
    return json.dumps(sealed(json.dumps(payload).encode()))


def case(name: str, number: int, codes: str, **given: Any) -> Case:
    return {"name": name, "attack": number, "codes": codes.split(), **given}


def envelopes() -> Iterator[Case]:  # noqa: PLR0915 - a table: each statement is a row
    good = json.loads(seal(statement(), MACHINE))
    payload, signature = good["payload"], good["signatures"][0]
    raw = base64.b64decode(signature["sig"])

    def signed(sig: bytes | str) -> str:
        text = sig if isinstance(sig, str) else base64.b64encode(sig).decode()
        return json.dumps({**good, "signatures": [{**signature, "sig": text}]})

    malleated = raw[:32] + (int.from_bytes(raw[32:], "little") + _L).to_bytes(32, "little")
    text = json.dumps(good_payload())
    other = json.loads(seal(statement(name="run-1"), MACHINE))
    subject = good_payload()["subject"][0]
    yield case("good", 0, "", envelope=json.dumps(good))
    yield case(
        "one signature listed twice counts once", 4, "", envelope=json.dumps({**good, "signatures": [signature] * 2})
    )
    yield case(
        "keyid that lies decides nothing",
        3,
        "",
        envelope=json.dumps({**good, "signatures": [{**signature, "keyid": STRANGER.public_key.keyid}]}),
    )
    yield case(
        "url-safe base64 is the same record",
        6,
        "",
        envelope=json.dumps(
            {**good, "signatures": [{**signature, "sig": signature["sig"].translate(str.maketrans("+/", "-_"))}]}
        ),
    )
    yield case(
        "claims our keyid but another key signed",
        3,
        "E_SIGNATURE",
        envelope=json.dumps(
            {
                **good,
                "signatures": [
                    {**sealed(base64.b64decode(payload), by=STRANGER)["signatures"][0], "keyid": signature["keyid"]}
                ],
            }
        ),
    )
    yield case("signature malleated by the group order", 6, "E_SIGNATURE", envelope=signed(malleated))
    yield case("signature padded with a byte", 6, "E_SIGNATURE", envelope=signed(raw + b"\0"))
    yield case("signature cut by a byte", 6, "E_SIGNATURE", envelope=signed(raw[:-1]))
    yield case("signature empty", 6, "E_SIGNATURE", envelope=signed(b""))
    yield case("signature of zeros", 6, "E_SIGNATURE", envelope=signed(bytes(64)))
    yield case("signature in two alphabets of base64", 6, "E_PARSE", envelope=signed("+-" + signature["sig"][2:]))
    yield case(
        "signature with spare bits in base64",
        6,
        "E_PARSE",
        envelope=signed(signature["sig"][:-3] + chr(ord(signature["sig"][-3]) + 1) + "=="),
    )
    yield case("signature without base64 padding", 6, "E_PARSE", envelope=signed(signature["sig"].rstrip("=")))
    yield case(
        "signature of another record",
        38,
        "E_SIGNATURE",
        envelope=json.dumps({**good, "signatures": other["signatures"]}),
    )
    yield case(
        "payload edited by a byte",
        38,
        "E_SIGNATURE",
        envelope=json.dumps(
            {**good, "payload": base64.b64encode(base64.b64decode(payload).replace(b"run-0", b"run-1")).decode()}
        ),
    )
    yield case("keys twice in the envelope", 7, "E_PARSE", envelope=json.dumps(good)[:-1] + ', "payload": "e30="}')
    yield case(
        "keys twice in the payload",
        7,
        "E_PARSE",
        envelope=json.dumps(sealed(text[:-1].encode() + b', "predicate": {}}')),
    )
    yield case(
        "keys twice by escape",
        7,
        "E_PARSE",
        envelope=json.dumps(sealed(text[:-1].encode() + b', "\\u0070redicate": {}}')),
    )
    for word in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1.0",
        "1e3",
        str(2**53),
        "9" * 5000,
        '"\\ud800"',
        "[" * 40 + "]" * 40,
    ):
        yield case(
            f"payload with {word[:12]}",
            7,
            "E_PARSE",
            envelope=json.dumps(sealed(text.replace('"predicate": {}', f'"predicate": {{"n": {word}}}').encode())),
        )
    yield case("byte order mark before the envelope", 7, "E_PARSE", envelope="\ufeff" + json.dumps(good))
    yield case(
        "byte order mark before the payload", 7, "E_PARSE", envelope=json.dumps(sealed(b"\xef\xbb\xbf" + text.encode()))
    )
    yield case("payload not UTF-8", 7, "E_PARSE", envelope=json.dumps(sealed(text.encode("utf-16"))))
    yield case("envelope over 64 KiB", 7, "E_PARSE", envelope=json.dumps(good), behind=" ")
    yield case("seventeen signatures", 7, "E_PARSE", envelope=json.dumps({**good, "signatures": [signature] * 17}))
    yield case("no signature", 7, "E_PARSE", envelope=json.dumps({**good, "signatures": []}))
    yield case("one more member in the envelope", 7, "E_PARSE", envelope=json.dumps({**good, "trusted": True}))
    yield case(
        "one more member in a signature",
        7,
        "E_PARSE",
        envelope=json.dumps({**good, "signatures": [{**signature, "role": "root"}]}),
    )
    yield case("list for an envelope", 7, "E_PARSE", envelope="[]")
    yield case("number for a payload", 7, "E_PARSE", envelope=json.dumps({**good, "payload": 1}))
    yield case("nesting that exhausts the reader", 7, "E_PARSE", envelope="", behind="[")
    yield case(
        "payload type swapped after signing",
        8,
        "E_SIGNATURE",
        envelope=json.dumps({**good, "payloadType": "text/plain"}),
    )
    yield case(
        "payload type of another program",
        8,
        "E_TYPE",
        envelope=json.dumps(sealed(text.encode(), "application/vnd.other+json")),
    )
    yield case("statement of another version", 8, "E_TYPE", envelope=said(_type="https://in-toto.io/Statement/v0.1"))
    yield case(
        "predicate type of another program", 8, "E_TYPE", envelope=said(predicateType="https://slsa.dev/provenance/v1")
    )
    yield case(
        "predicate type with a newline behind", 8, "E_TYPE", envelope=said(predicateType="urn:opsascode:run-start:v1\n")
    )
    yield case("predicate type without version", 8, "E_TYPE", envelope=said(predicateType="urn:opsascode:run-start"))
    yield case(
        "run record presented as approval", 8, "E_TYPE", envelope=json.dumps(good), wanted=["urn:opsascode:approval:v1"]
    )
    yield case("predicate missing", 8, "E_TYPE", envelope=said(predicate=None))
    yield case("no subject", 8, "E_STATEMENT", envelope=said(subject=[]))
    yield case("two subjects", 8, "E_STATEMENT", envelope=said(subject=[subject, subject]))
    yield case(
        "subject with two digests",
        8,
        "E_STATEMENT",
        envelope=said(subject=[{**subject, "digest": {**subject["digest"], "sha1": "0" * 40}}]),
    )
    yield case(
        "subject digest in capitals",
        8,
        "E_STATEMENT",
        envelope=said(subject=[{**subject, "digest": {"sha256": "A" * 64}}]),
    )
    yield case(
        "subject digest of sha1", 8, "E_STATEMENT", envelope=said(subject=[{**subject, "digest": {"sha1": "0" * 40}}])
    )
    yield case(
        "subject name with a terminal escape",
        48,
        "E_STATEMENT",
        envelope=said(subject=[{**subject, "name": "run-0\x1b[2J"}]),
    )
    yield case(
        "subject name turned right to left",
        48,
        "E_STATEMENT",
        envelope=said(subject=[{**subject, "name": "run-\u202e0"}]),
    )
    yield case(
        "subject name with no width", 48, "E_STATEMENT", envelope=said(subject=[{**subject, "name": "run-\u200b0"}])
    )
    yield case("subject name empty", 48, "E_STATEMENT", envelope=said(subject=[{**subject, "name": ""}]))
    yield case("predicate a list", 8, "E_STATEMENT", envelope=said(predicate=[]))


def keys() -> Iterator[Case]:
    y8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
    good = MACHINE.public_key.raw
    yield case("good", 0, "", raw=good.hex())
    for what, y in (
        ("neutral point", 1),
        ("order two", _P - 1),
        ("order four", 0),
        ("order eight", y8),
        ("order eight, minus y", _P - y8),
    ):
        for sign in (0, 1):
            yield case(f"{what}, sign {sign}", 5, "E_WEAK_KEY", raw=(y | sign << 255).to_bytes(32, "little").hex())
    for extra in range(19):
        yield case(f"not canonical: p + {extra}", 5, "E_WEAK_KEY", raw=(_P + extra).to_bytes(32, "little").hex())
    yield case("not canonical, all bits", 5, "E_WEAK_KEY", raw="ff" * 32)
    yield case("no point of the curve", 5, "E_WEAK_KEY", raw=(2).to_bytes(32, "little").hex())
    yield case("31 bytes", 6, "E_KEY", raw=good[:31].hex())
    yield case("33 bytes", 6, "E_KEY", raw=(good + b"\0").hex())
    yield case("empty", 6, "E_KEY", raw="")
    line = MACHINE.public_key.openssh("machine")
    wire = base64.b64decode(line.split()[1])
    rsa = base64.b64encode(wire.replace(b"ssh-ed25519", b"ssh-rsa-256")).decode()
    yield case("line says rsa", 10, "E_KEY_TYPE", openssh=line.replace("ssh-ed25519 ", "ssh-rsa "))
    yield case("line says ed25519, bytes say rsa", 10, "E_KEY_TYPE", openssh=f"ssh-ed25519 {rsa}")
    yield case(
        "security key taken for a plain one",
        10,
        "E_KEY_TYPE",
        openssh=line.replace("ssh-ed25519 ", "sk-ssh-ed25519@openssh.com "),
    )
    yield case(
        "weak key in a line",
        5,
        "E_WEAK_KEY",
        openssh="ssh-ed25519 " + base64.b64encode(wire[:19] + (1).to_bytes(32, "little")).decode(),
    )
    yield case("bytes behind the key", 10, "E_KEY", openssh="ssh-ed25519 " + base64.b64encode(wire + b"x").decode())
    yield case("two lines", 10, "E_KEY", openssh=f"{line}\n{line}")
    yield case("options before the key", 10, "E_KEY_TYPE", openssh=f'command="sh" {line}')
    yield case("not base64", 10, "E_KEY", openssh="ssh-ed25519 ???")
    yield case("one word", 10, "E_KEY", openssh="ssh-ed25519")


def base_ledger(directory: Path) -> tuple[list[bytes], Ledger]:
    """Three whole runs by the machine."""
    ledger = Ledger.open(directory / "ledger", signer=MACHINE, origin=ORIGIN, high_water=directory / "mark")
    records = [
        seal(statement(kind, f"run-{n}", ledger=ORIGIN, result=sha256_digest(b"result")), MACHINE)
        for n in range(3)
        for kind in ("run-start", "run-end")
    ]
    for envelope in records:
        ledger.append(envelope)
    return records, ledger


def proofs() -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as directory:
        records, ledger = base_ledger(Path(directory))
        good, entry = ledger.prove(1), records[1].decode()
        last = ledger.prove(5)
        ledger.close()
    head, note = good.split("\n\n", 1)
    lines = head.split("\n")
    text = note.split("\n\n")[0] + "\n"
    root = text.split("\n")[2]

    def proof(name: str, number: int, codes: str, proof: str, **given: str) -> Case:
        return case(name, number, codes, **{"entry": entry, "origin": ORIGIN, **given, "proof": proof})

    def noted(body: str, *, name: str = ORIGIN, by: KeySigner = MACHINE) -> str:
        return f"{head}\n\n{sign_note(body, name, by)}"

    other = sign_note(text, ORIGIN, STRANGER).split("\n\n")[1]
    yield proof("good", 0, "", good)
    yield proof("signature of an unknown key is ignored", 45, "", good + other)
    yield proof("last entry", 0, "", last, entry=records[5].decode())
    yield proof("proof of another entry", 41, "E_PROOF", last)
    yield proof("another record", 41, "E_PROOF", good, entry=records[0].decode())
    yield proof("index one higher", 41, "E_PROOF", good.replace("index 1", "index 2"))
    yield proof("index at the size", 41, "E_PROOF", good.replace("index 1", "index 6"))
    yield proof("index beyond any log", 41, "E_PROOF", good.replace("index 1", "index " + "9" * 30))
    yield proof("index with a zero before it", 41, "E_PROOF", good.replace("index 1", "index 01"))
    yield proof("index negative", 41, "E_PROOF", good.replace("index 1", "index -1"))
    yield proof("index in other digits", 41, "E_PROOF", good.replace("index 1", "index \u0661"))
    yield proof("a hash too many", 41, "E_PROOF", "\n".join([*lines, root]) + "\n\n" + note)
    yield proof("a hash too few", 41, "E_PROOF", "\n".join(lines[:-1]) + "\n\n" + note)
    yield proof("hashes in another order", 41, "E_PROOF", "\n".join([*lines[:2], *lines[:1:-1]]) + "\n\n" + note)
    yield proof("a short hash", 41, "E_PROOF", "\n".join([*lines[:-1], "AAAA"]) + "\n\n" + note)
    yield proof("sixty-four hashes", 41, "E_PROOF", "\n".join([*lines[:2], *[root] * 64]) + "\n\n" + note)
    yield proof("extra data that nobody signs", 41, "E_PROOF", good.replace("index", "extra AAAA\nindex"))
    yield proof("another format", 41, "E_PROOF", good.replace("@v1", "@v2"))
    yield proof("size zero", 41, "E_PROOF", noted(f"{ORIGIN}\n0\n{root}\n"))
    yield proof("wrong size under the right root, signed", 41, "E_PROOF", noted(f"{ORIGIN}\n2\n{root}\n"))
    yield proof("size changed", 41, "E_SIGNATURE", good.replace(f"{ORIGIN}\n6\n", f"{ORIGIN}\n7\n"))
    yield proof("size with a zero before it", 41, "E_CHECKPOINT", noted(f"{ORIGIN}\n06\n{root}\n"))
    yield proof("root changed", 41, "E_SIGNATURE", good.replace(root, base64.b64encode(bytes(32)).decode()))
    yield proof("root too short", 41, "E_CHECKPOINT", noted(f"{ORIGIN}\n6\nAAAA\n"))
    yield proof("checkpoint of two lines", 41, "E_CHECKPOINT", noted(f"{ORIGIN}\n6\n"))
    yield proof(
        "checkpoint of another log", 40, "E_ORIGIN", noted(text.replace("attacked", "other"), name="opsascode/other")
    )
    yield proof("checkpoint signed by a stranger", 45, "E_SIGNATURE", noted(text, by=STRANGER))
    yield proof("checkpoint signed under another name", 40, "E_SIGNATURE", noted(text, name="opsascode/other"))
    yield proof(
        "good and bad signature of the known key",
        45,
        "E_SIGNATURE",
        good + note.split("\n\n")[1][:-20] + "A" * 16 + "A==\n",
    )
    yield proof("hyphen for the dash", 45, "E_NOTE", good.replace("—", "-"))
    yield proof("control character in the note", 48, "E_NOTE", good.replace(ORIGIN, "opsascode/\x1battacked"))
    yield proof("no signature", 45, "E_NOTE", f"{head}\n\n{text}\n")
    yield proof("no checkpoint", 45, "E_PROOF", head)
    yield proof("seventeen signatures", 7, "E_NOTE", good + other * 16)
    yield proof("note without end", 7, "E_PROOF", good, behind="A")


def receipts() -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as directory:
        _, ledger = base_ledger(Path(directory))
        good = parse_strict(make_receipt(ledger, (0, 1), {"result": b"result", "plan": b"plan"}))
        later = parse_strict(make_receipt(ledger, (2, 3), {}))
        ledger.close()
    first, second = good["records"]

    def receipt(name: str, number: int, codes: str, **changes: Any) -> Case:
        return case(name, number, codes, receipt=json.dumps({**good, **changes}))

    def attached(data: bytes, /, **changes: str) -> dict[str, str]:
        return {
            "name": "result",
            "sha256": sha256_digest(data).removeprefix("sha256:"),
            "data": base64.b64encode(data).decode(),
            **changes,
        }

    def attach(name: str, number: int, *attachments: object, codes: str = "E_ATTACHMENT") -> Case:
        return receipt(name, number, codes, attachments=list(attachments))

    yield receipt("good", 0, "")
    yield receipt("only the start", 42, "", records=[first], attachments=[])
    yield receipt(
        "record edited",
        38,
        "E_SIGNATURE",
        records=[first, {**second, "envelope": second["envelope"].replace("ZXh", "ZXi", 1).replace("eyJ", "eyK", 1)}],
    )
    yield receipt(
        "proofs swapped",
        38,
        "E_PROOF E_PROOF",
        records=[{**first, "proof": second["proof"]}, {**second, "proof": first["proof"]}],
        attachments=[],
    )
    yield receipt("records reordered", 38, "E_RUN_UNSTARTED E_RECEIPT E_DUP_RUN", records=[second, first, second])
    yield receipt("start left out", 38, "E_RUN_UNSTARTED", records=[second])
    yield receipt("end of another run", 38, "E_RUN_UNSTARTED", records=[first, later["records"][1]])
    yield receipt("later run before an earlier one", 38, "E_RECEIPT", records=[later["records"][0], first, second])
    yield receipt("record twice", 40, "E_DUP_RUN", records=[first, first, second])
    yield receipt("no record", 42, "E_RECEIPT", records=[], attachments=[])
    yield receipt(
        "sealed but not in the ledger",
        40,
        "E_PROOF",
        records=[first, {**second, "envelope": seal(statement("run-end"), MACHINE).decode()}],
        attachments=[],
    )
    yield receipt(
        "made for another ledger",
        40,
        "E_PROOF",
        records=[{**first, "envelope": seal(statement(ledger="opsascode/other"), MACHINE).decode()}],
        attachments=[],
    )
    yield attach("attachment edited", 38, attached(b"result", data=base64.b64encode(b"result!").decode()))
    yield attach("attachment edited with its digest", 38, attached(b"result!"))
    yield attach("attachment nobody named", 38, attached(b"extra"))
    yield attach("attachment not base64", 7, attached(b"result", data="????"))
    yield attach("attachment a number", 7, 1)
    yield attach("attachment without data", 7, {"name": "result", "sha256": "0" * 64})
    yield attach("attachment name with a terminal escape", 48, attached(b"result", name="\x1b[2J"))
    yield receipt("format of the future", 7, "E_RECEIPT", format="opsascode-receipt/v2")
    yield receipt("one more member", 7, "E_RECEIPT", trusted=True)
    yield receipt("records no list", 7, "E_RECEIPT", records={})
    yield receipt(
        "record with one more member", 7, "E_RECEIPT", records=[first, {**second, "trusted": True}], attachments=[]
    )
    yield receipt("record no object", 7, "E_RECEIPT", records=[first, 1], attachments=[])
    yield receipt(
        "envelope an object",
        7,
        "E_RECEIPT",
        records=[first, {**second, "envelope": json.loads(second["envelope"])}],
        attachments=[],
    )
    yield case("keys twice", 7, "E_PARSE", receipt=json.dumps(good)[:-1] + ', "records": []}')
    yield case("not JSON", 7, "E_PARSE", receipt="receipt")


def ledgers() -> Iterator[Case]:  # noqa: PLR0915 - a table: each statement is a row
    with tempfile.TemporaryDirectory() as directory:
        records, ledger = base_ledger(Path(directory))
        ledger.close()
        files = {
            "ledger.json": (Path(directory) / "ledger" / "ledger.json").read_text(),
            "segment": (Path(directory) / "ledger" / "segments" / "000000000000.jsonl").read_text(),
            "nodes": (Path(directory) / "ledger" / "nodes").read_bytes().hex(),
            "mark": (Path(directory) / "mark").read_text(),
        }
    lines = files["segment"].splitlines(keepends=True)
    entry, checkpoint = lines[0::2], lines[1::2]

    def attack(name: str, number: int, expected: str, *changed: str, **given: str) -> Case:
        """`expected` holds a word for each fault: code, and the entry it is about."""
        segment = {"segment": "".join(changed)} if changed else {}
        return case(name, number, expected, **segment, **given)

    def pairs(*order: int) -> list[str]:
        return [line for n in order for line in (entry[n], checkpoint[n])]

    def resealed(**predicate: str) -> str:
        return seal(statement("run-end", "run-1", **predicate), MACHINE).decode() + "\n"

    def signed(size: int, root: bytes, by: KeySigner = MACHINE, origin: str = ORIGIN) -> str:
        return checkpoint_line(sign_note(f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n", origin, by)).decode()

    yield {"base": files}
    yield attack("good", 0, "")
    for n, place in ((0, 40), (3, 300), (5, len(entry[5]) - 20)):
        flipped = "A" if entry[n][place] != "A" else "B"
        edited = entry[n][:place] + flipped + entry[n][place + 1 :]
        yield attack(
            f"byte {place} of entry {n} changed", 38, f"E_SIGNATURE@{n}", *lines[: 2 * n], edited, *lines[2 * n + 1 :]
        )
    yield attack(
        "entry replaced by another, rightly signed", 38, "E_ENTRY_CHANGED@3", *lines[:6], resealed(), *lines[7:]
    )
    yield attack(
        "entry replaced, no list of hashes left", 38, "E_ENTRY_CHANGED@3", *lines[:6], resealed(), *lines[7:], nodes=""
    )
    yield attack("entry removed with its checkpoint", 38, "E_ENTRY_REMOVED@3", *pairs(0, 1, 2, 4, 5))
    yield attack("entry removed, no list of hashes left", 38, "E_ENTRY_REMOVED@3", *pairs(0, 1, 2, 4, 5), nodes="")
    yield attack("entry removed, its checkpoint left", 38, "E_ENTRY_REMOVED@3", *lines[:6], *lines[7:])
    yield attack("start of a run removed", 38, "E_ENTRY_REMOVED@2 E_RUN_UNSTARTED@2", *pairs(0, 1, 3, 4, 5))
    yield attack("first two removed", 38, "E_ENTRY_REMOVED@0 E_ENTRY_REMOVED@1", *pairs(2, 3, 4, 5))
    yield attack("entry added", 38, "E_ENTRY_ADDED@4 E_DUP_RUN@4", *lines[:8], resealed(), *lines[8:])
    yield attack(
        "two entries swapped",
        38,
        "E_ENTRY_MOVED@1 E_ENTRY_MOVED@3 E_RUN_UNSTARTED@1",
        *lines[:2],
        entry[3],
        *lines[3:6],
        entry[1],
        *lines[7:],
    )
    yield attack(
        "two entries swapped, no list of hashes left",
        38,
        "E_ENTRY_CHANGED@1 E_RUN_UNSTARTED@1",
        *lines[:2],
        entry[3],
        *lines[3:6],
        entry[1],
        *lines[7:],
        nodes="",
    )
    yield attack("reordered with their checkpoints", 38, "E_ENTRY_MOVED@1 E_ENTRY_MOVED@2", *pairs(0, 2, 1, 3, 4, 5))
    yield attack("end of the log cut off with its checkpoints", 39, "E_LEDGER_TRUNCATED@4", *pairs(0, 1, 2, 3))
    yield attack("whole log cut off", 39, "E_LEDGER_TRUNCATED@0", "")
    yield attack("last checkpoint missing", 39, "E_LEDGER_TORN@5 E_LEDGER_TRUNCATED@5", *lines[:-1])
    yield attack("last checkpoint missing, no mark here", 39, "E_LEDGER_TORN@5", *lines[:-1], mark="")
    yield attack(
        "end cut off inside an entry", 39, "E_LEDGER_TORN@5 E_LEDGER_TRUNCATED@5", *lines[:-2], lines[-2][:100]
    )
    yield attack("no checkpoint at all", 39, "E_CHECKPOINT@0 E_LEDGER_TRUNCATED@0", *entry)
    yield attack("another history of the same length", 45, "E_LEDGER_FORK@5", *_forked(6))
    yield attack("another history that is longer", 45, "E_LEDGER_FORK@5", *_forked(8))
    yield attack(
        "an inner checkpoint edited",
        38,
        "E_CHECKPOINT@2",
        *lines[:5],
        lines[5].replace("\\n3\\n", "\\n4\\n"),
        *lines[6:],
    )
    yield attack("an inner checkpoint missing is no loss", 38, "", *lines[:5], *lines[6:])
    yield attack(
        "last checkpoint edited",
        38,
        "E_SIGNATURE@5 E_LEDGER_TRUNCATED@0",
        *lines[:-1],
        lines[-1].replace("\\n6\\n", "\\n7\\n"),
    )
    yield attack(
        "last checkpoint by a stranger",
        45,
        "E_SIGNATURE@5 E_LEDGER_TRUNCATED@0",
        *lines[:-1],
        signed(6, bytes(32), STRANGER),
    )
    yield attack(
        "last checkpoint of another log",
        40,
        "E_ORIGIN@5 E_LEDGER_TRUNCATED@0",
        *lines[:-1],
        signed(6, bytes(32), origin="opsascode/other"),
    )
    yield attack("last checkpoint no note", 38, "E_NOTE@5 E_LEDGER_TRUNCATED@0", *lines[:-1], '{"checkpoint":"none"}\n')
    yield attack(
        "last checkpoint no text", 38, "E_CHECKPOINT@5 E_LEDGER_TRUNCATED@0", *lines[:-1], '{"checkpoint":"","x":1}\n'
    )
    yield attack("run started twice", 40, "E_DUP_RUN@6", *lines, *_appended(records, statement("run-start", "run-0")))
    yield attack("run ended twice", 40, "E_DUP_RUN@6", *lines, *_appended(records, statement("run-end", "run-0")))
    yield attack(
        "run ended that never started",
        42,
        "E_RUN_UNSTARTED@6",
        *lines,
        *_appended(records, statement("run-end", "run-9")),
    )
    yield attack(
        "record of another ledger",
        40,
        "E_ORIGIN@6",
        *lines,
        *_appended(records, statement(name="run-9", ledger="opsascode/other")),
    )
    yield attack(
        "record of a stranger", 44, "E_SIGNATURE@6", *lines, *_appended(records, statement(name="run-9"), STRANGER)
    )
    yield attack("line that is no record", 7, "E_PARSE@6 E_LEDGER_TORN@6", *lines, "noise\n")
    yield attack("line longer than any entry", 7, "E_LEDGER_FORMAT", *lines, "x" * 70000 + "\n")
    yield attack(
        "header of another origin",
        40,
        "E_ORIGIN",
        **{"ledger.json": files["ledger.json"].replace("attacked", "claimed", 1)},
    )
    yield attack(
        "header of another origin and key name",
        40,
        "E_KEY",
        **{"ledger.json": files["ledger.json"].replace("attacked", "claimed")},
    )
    yield attack("header no JSON", 7, "E_LEDGER_FORMAT", **{"ledger.json": "ledger"})
    yield attack("header missing", 7, "E_LEDGER_FORMAT", **{"ledger.json": ""})
    yield attack("mark of another log", 40, "E_ORIGIN", mark=files["mark"].replace("attacked", "other"))
    yield attack("mark of the future", 39, "E_LEDGER_TRUNCATED@6", mark=files["mark"].replace('"size":6', '"size":7'))
    yield attack("mark ruined", 39, "E_HIGH_WATER", mark="{}")


def _forked(count: int) -> list[str]:
    """Other records under the same key and origin: what somebody who has the ledger's key could write."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Ledger.open(directory / "ledger", signer=MACHINE, origin=ORIGIN, high_water=directory / "mark") as ledger:
            for n in range(count):
                ledger.append(seal(statement(name=f"other-{n}"), MACHINE))
        return (directory / "ledger" / "segments" / "000000000000.jsonl").read_text().splitlines(keepends=True)


def _appended(records: list[bytes], what: Statement, by: KeySigner = MACHINE) -> list[str]:
    """The two lines of one more append, rightly signed by the ledger's own key."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with Ledger.open(directory / "ledger", signer=MACHINE, origin=ORIGIN, high_water=directory / "mark") as ledger:
            ledger.append_many(records)
            ledger._check_record = lambda _: None  # type: ignore[assignment,return-value] # the attacker's own build
            ledger.append(seal(what, by))
        return (directory / "ledger" / "segments" / "000000000000.jsonl").read_text().splitlines(keepends=True)[-2:]


TABLES: dict[str, Callable[[], Iterator[Case]]] = {
    "proof_envelopes": envelopes,
    "proof_keys": keys,
    "proof_proofs": proofs,
    "proof_receipts": receipts,
    "proof_ledgers": ledgers,
}


def table(name: str) -> str:
    return json.dumps(list(TABLES[name]()), indent=1, ensure_ascii=True) + "\n"


def load(name: str) -> list[Case]:
    return json.loads((HERE / f"{name}.json").read_text())


if __name__ == "__main__":
    for one in TABLES:
        (HERE / f"{one}.json").write_text(table(one))
