"""Checks a log that examples/write_log.rs wrote, with aics-tlog, a verifier that nobody of this project wrote.

    pip install --ignore-requires-python aics-tlog==0.2.1
    python3 check_log.py DIRECTORY

Every tile and every entry bundle must have the hashes of the signed root, every receipt must lead to its own checkpoint,
and every one of these checkpoints must be continued by the last one.
"""
import base64, pathlib, sys
import aics_tlog


def checkpoint(note, key, **witnesses):
    result = aics_tlog.verify_checkpoint(aics_tlog.parse_note(note), key, expected_origin=key.name, **witnesses)
    assert result.ok, result.error
    return result.size, result.root


def hashes(lines):
    return [base64.b64decode(line, validate=True) for line in lines]


def check(log):
    key, witness = (aics_tlog.parse_vkey((log / name).read_text()) for name in ("vkey", "witness_vkey"))
    size, root = checkpoint((log / "checkpoint").read_text(), key, witness_keys=[witness], quorum=1)
    report = aics_tlog.audit_tiles(aics_tlog.FileSystemTileReader(log), size, root)
    files = sum(path.is_file() for path in (log / "tile").rglob("*"))
    assert report.tiles + report.bundles == files, f"{report} is not all {files} files"
    receipts = list((log / "receipts").iterdir())
    assert receipts
    for path in receipts:
        head, note = path.read_text().split("\n\n", 1)
        first, extra, index, *proof = head.split("\n")
        assert first == "c2sp.org/tlog-proof@v1" and extra.startswith("extra ") and index.startswith("index "), first
        entry, index = base64.b64decode(extra[6:], validate=True), int(index[6:])
        batch_size, batch_root = checkpoint(note, key)
        proof = hashes(proof)
        assert aics_tlog.verify_leaf_inclusion(entry, index, batch_size, proof, batch_root), path
        assert not aics_tlog.verify_leaf_inclusion(entry + b" ", index, batch_size, proof, batch_root), path
        proof = hashes((log / "consistency" / str(batch_size)).read_text().split())
        assert aics_tlog.verify_consistency(batch_size, size, batch_root, root, proof), path
    print(f"{size} orders, {report.tiles} tiles, {report.bundles} bundles and {len(receipts)} receipts hold")


if __name__ == "__main__":
    check(pathlib.Path(sys.argv[1]))
