"""A second implementation of docs/verifiable-draw.md, which shares no code with the first.

    pip install cryptography py_ecc
    python3 verify_draw.py                                    checks the published vectors and transcripts
    python3 verify_draw.py --altered DIRECTORY                judges altered transcripts as the first implementation does
    python3 verify_draw.py PROOF VKEY [PREVIOUS [LIST]]       verifies a draw: the body of its /proof, the key of the public
                                                              log, the proof of the draw before, the directory of its list

It also checks that every alteration of a checkpoint, a cosignature and a receipt is refused.
"""
import base64, hashlib, hmac, json, pathlib, re, sys
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Refused(Exception):
    """What was checked does not hold."""


def require(condition, what):
    if not condition:
        raise Refused(what)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u64(number):
    return number.to_bytes(8, "big")


def expand(key, info, length):
    """HKDF-Expand of RFC 5869."""
    block, stream, counter = b"", b"", 1
    while len(stream) < length:
        block = hmac.digest(key, block + info + bytes([counter]), "sha256")
        stream, counter = stream + block, counter + 1
    return stream[:length]


# Merkle trees (RFC 6962, section 2.1), as the RFC defines them: by recursion.

def leaf_hash(entry):
    return sha256(b"\0", entry)


def split(leaves):
    return 1 << (len(leaves) - 1).bit_length() - 1


def root(leaves):
    if len(leaves) < 2:
        return leaves[0] if leaves else sha256()
    k = split(leaves)
    return sha256(b"\1", root(leaves[:k]), root(leaves[k:]))


def edge(leaves):
    data, start = u64(len(leaves)), 0
    for bit in reversed(range(64)):
        if len(leaves) >> bit & 1:
            data, start = data + root(leaves[start:start + (1 << bit)]), start + (1 << bit)
    return data


def inclusion(leaves, m):
    if len(leaves) == 1:
        return []
    k = split(leaves)
    if m < k:
        return inclusion(leaves[:k], m) + [root(leaves[k:])]
    return inclusion(leaves[k:], m - k) + [root(leaves[:k])]


def consistency(leaves, m, whole=True):
    if m == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(leaves)
    if m <= k:
        return consistency(leaves[:k], m, whole) + [root(leaves[k:])]
    return consistency(leaves[k:], m - k, False) + [root(leaves[:k])]


def root_of_proof(leaf, index, size, proof):
    require(index < size, "the leaf is in the tree")
    if size == 1:
        require(not proof, "the proof has no hash too many")
        return leaf
    require(proof, "the proof has all hashes")
    k = 1 << (size - 1).bit_length() - 1
    if index < k:
        return sha256(b"\1", root_of_proof(leaf, index, k, proof[:-1]), proof[-1])
    return sha256(b"\1", proof[-1], root_of_proof(leaf, index - k, size - k, proof[:-1]))


# Entries: the part of RFC 8785 that they need

def check_value(value, depth=16):
    """Objects are lists of pairs here, so that a key that stands twice is seen."""
    if isinstance(value, tuple):
        keys = [key.encode("utf-16-be") for key, _ in value]
        require(keys == sorted(set(keys)), "keys are in order, each once")
        value = [inner for _, inner in value]
    elif isinstance(value, str):
        return value.encode()
    elif not isinstance(value, list):
        return require(type(value) is int and 0 <= value < 2**53, "numbers are integers up to 2^53 - 1")
    require(depth > 0, "at most 16 levels")
    for inner in value:
        check_value(inner, depth - 1)


def read_entry(data):
    """The value of an entry. Its bytes must be the only ones that have this value."""
    require(len(data) <= 65535, "an entry has a length of 16 bits")
    check_value(json.loads(data.decode(), object_pairs_hook=tuple))
    value = json.loads(data)
    require(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() == data, "an entry has one form")
    return value


# Signed notes, checkpoints, receipts

def unbase64(text):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 has one form")
    return data


def decimal(text):
    require(text.isascii() and text.isdigit() and str(int(text)) == text, "a number has one form")
    return int(text)


def vkey(text):
    name, key_id, key = text.split("+", 2)
    key = unbase64(key)
    require(sha256(name.encode(), b"\n", key)[:4].hex() == key_id, "the key id fits the key")
    return name, key


def make_vkey(name, kind, secret):
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key()
    key = bytes([kind]) + public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    key_id = sha256(name.encode(), b"\n", key)[:4].hex()
    return f"{name}+{key_id}+{base64.b64encode(key).decode()}"


def open_note(note, key):
    """The text and the times at which the key cosigned it. Every signature of the key must hold."""
    name, key = key
    separator = note.rindex("\n\n")
    text, lines, times = note[:separator + 1], note[separator + 2:], []
    require(lines.endswith("\n"), "a signature line has its newline")
    for line in lines[:-1].split("\n"):
        dash, signer, data = line.split(" ")
        require(dash == "\u2014", "a signature line begins with a dash")
        data = unbase64(data)
        if (signer, data[:4]) != (name, sha256(name.encode(), b"\n", key)[:4]):
            continue
        time, message, signature = None, text.encode(), data[4:]
        if key[0] == 4:
            time, signature = int.from_bytes(data[4:12], "big"), data[12:]
            message = f"cosignature/v1\ntime {time}\n{text}".encode()
        Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature, message)
        times.append(time)
    require(times, "the key has signed")
    return text, times


def open_checkpoint(note, key):
    origin, size, tree_root, end = open_note(note, key)[0].split("\n")
    require(origin == key[0] and end == "", "the key has the name of the origin")
    tree_root = unbase64(tree_root)
    require(len(tree_root) == 32, "a root has 32 bytes")
    return decimal(size), tree_root


def open_receipt(receipt, key):
    """The entry that the receipt proves."""
    head, note = receipt.split("\n\n", 1)
    first, extra, index, *proof = head.split("\n")
    require(first == "c2sp.org/tlog-proof@v1" and extra[:6] == "extra " and index[:6] == "index ", "lines of a receipt")
    entry, proof = unbase64(extra[6:]), [unbase64(line) for line in proof]
    require(all(len(one) == 32 for one in proof), "a hash has 32 bytes")
    size, tree_root = open_checkpoint(note, key)
    require(root_of_proof(leaf_hash(entry), decimal(index[6:]), size, proof) == tree_root, "the proof leads to the root")
    return entry


def entries_of_bundle(bundle):
    while bundle:
        length = int.from_bytes(bundle[:2], "big")
        require(len(bundle) >= 2 + length, "an entry is whole")
        yield bundle[2:2 + length]
        bundle = bundle[2 + length:]


# Seeds, salts, numbers, rounds

def commitment(seed, origin):
    return sha256(b"lottery/seed/v1\0", sha256(origin.encode()), seed)


def owner(salt, user):
    return base64.b64encode(sha256(b"lottery/owner/v1\0", salt, u64(user))).decode()


def draw_numbers(salt, key_material, announcement, round_number, k, n):
    key = hmac.digest(salt, key_material, "sha256")
    stream = expand(key, b"lottery/numbers/v1\0" + sha256(announcement) + u64(round_number), 8160)
    values = (int.from_bytes(stream[at:at + 8], "big") for at in range(0, 8160, 8))
    numbers = list(range(1, n + 1))
    for i in range(k):
        m = n - i
        x = next(x for x in values if x < 2**64 - 2**64 % m)
        j = i + x % m
        numbers[i], numbers[j] = numbers[j], numbers[i]
    return numbers[:k]


def round_randomness(public_key, round_number, signature):
    """bls-unchained-g1-rfc9380: e(signature, G2) = e(hash of the round, public key)."""
    from py_ecc.bls.hash_to_curve import hash_to_G1
    from py_ecc.bls.point_compression import decompress_G1, decompress_G2
    from py_ecc.bls.g2_primitives import subgroup_check
    from py_ecc.optimized_bls12_381 import G2, pairing
    point = decompress_G1(int.from_bytes(signature, "big"))
    key = decompress_G2((int.from_bytes(public_key[:48], "big"), int.from_bytes(public_key[48:], "big")))
    require(subgroup_check(point) and subgroup_check(key), "the points are in their groups")
    domain = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
    message = hash_to_G1(sha256(u64(round_number)), domain, hashlib.sha256)
    require(pairing(G2, point) == pairing(key, message), "the signature is that of the round")
    return sha256(signature)


# Transcripts of draws

FIELDS = {  # required | possible
    "draw_announced": "type draw at lottery number rules sales_close_at draw_at fairness ticket_log | commitment beacon policy",
    "draw_rescheduled": "type draw at sales_close_at draw_at | round",
    "draw_sealed": "type draw at orders tickets root | by_hand",
    "draw_completed": "type draw at winning_numbers prize_fund jackpot tiers rollover | seed signature after by_hand",
    "draw_voided": "type draw at stage reason | seed",
    "rules": "pick of price currency fund_share tiers |",
    "rules tier": "matches | amount share minimum",
    "result tier": "matches winners prize |",
    "beacon": "chain public_key round |",
}
QUICKNET = bytes.fromhex("52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971")
QUICKNET_KEY = bytes.fromhex(
    "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
    "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a")
GENESIS, PERIOD = 1692803367, 3


def fields(value, kind):
    """An object must have the fields of its kind: integers, but for the named ones."""
    required, possible = (part.split() for part in FIELDS[kind].split("|"))
    require(isinstance(value, dict) and set(required) <= set(value) <= {*required, *possible}, f"fields of {kind}")
    texts = "type lottery fairness ticket_log commitment policy root seed signature stage reason currency chain public_key"
    for name, inner in value.items():
        expected = str if name in texts.split() else {"rules": dict, "beacon": dict, "tiers": list,
                                                      "winning_numbers": list}.get(name, int)
        require(type(inner) is expected, f"{name} of {kind}")
    require(value.get("by_hand", 1) == 1, "a flag is 1 or absent")
    return value


def hash_of(text, length=32):
    data = unbase64(text)
    require(len(data) == length, f"{length} bytes")
    return data


def check_rules(rules):
    fields(rules, "rules")
    pick, of, tiers = rules["pick"], rules["of"], rules["tiers"]
    require(1 <= pick <= of <= 64 and rules["price"] > 0 and rules["fund_share"] <= 10000, "game, price and fund")
    matches = [fields(tier, "rules tier")["matches"] for tier in tiers]
    require(matches and matches == sorted(set(matches), reverse=True), "tiers from the most matches down")
    require(sum(tier.get("share", 0) for tier in tiers) <= 10000, "shares are a part of the whole")
    for tier in tiers:
        require(max(1, 2 * pick - of) <= tier["matches"] <= pick, "matches that a ticket can have")
        fixed = "amount" in tier and set(tier) == {"matches", "amount"}
        require(fixed or "share" in tier and "amount" not in tier, "one award for each tier")
        require(all(amount > 0 for amount in tier.values()), "no award of nothing")


def prizes(rules, sales, jackpot, winners):
    """Prize fund, prize of each tier, rollover."""
    fund = sales * rules["fund_share"] // 10000 + jackpot
    tiers, left, paid = list(zip(rules["tiers"], winners)), fund, {}

    def shared(tier, count):
        return max(left, 0) * tier.get("share", 0) // 10000 // count if count else 0

    def guaranteed(tier, count):
        if "amount" in tier:
            return tier["amount"]
        return tier["minimum"] if count and shared(tier, count) < tier.get("minimum", 0) else None

    while True:
        place = next((at for at, one in enumerate(tiers) if at not in paid and guaranteed(*one) is not None), None)
        if place is None:
            break
        paid[place] = guaranteed(*tiers[place])
        left -= paid[place] * tiers[place][1]
    amounts = [paid.get(at, shared(*one)) for at, one in enumerate(tiers)]
    rollover = fund + max(-left, 0) - sum(amount * count for amount, count in zip(amounts, winners))
    return fund, amounts, rollover


def read_policy(text):
    """Members by name: a witness is a key, a group a threshold and names. And the name of the quorum."""
    members, quorum = {}, None
    for line in text.splitlines():
        match line.split():
            case ["witness", name, key, *_]:
                members[name] = vkey(key)
            case ["group", name, threshold, *names]:
                members[name] = {"any": 1, "all": len(names)}.get(threshold) or decimal(threshold), names
            case ["quorum", name]:
                quorum = name
            case [] | ["log", *_]:
                pass
            case words:
                require(words[0].startswith("#"), "a line of a policy")
    require(quorum is not None, "a policy has a quorum")
    return members, quorum


def has_quorum(note, policy, before):
    """Whether enough witnesses have cosigned before a time. A wrong cosignature is refused."""
    members, quorum = policy
    signed = set()
    for name, key in members.items():
        if isinstance(key[0], str) and f"\u2014 {key[0]} " in note:
            if min(open_note(note, key)[1]) < before:
                signed.add(name)

    def witnessed(name):
        member = members[name]
        if isinstance(member[0], str):
            return name in signed
        return sum(map(witnessed, member[1])) >= member[0]

    return quorum == "none" or witnessed(quorum)


def proven_entries(body, key):
    """Index, bytes, event and head of each entry, which all must be in the log of this key."""
    require(set(body) == {"draw_id", "policy", "entries"} and type(body["draw_id"]) is int, "a body of /proof")
    entries = []
    for one in body["entries"]:
        require(set(one) == {"entry", "proof"}, "an entry and its proof")
        data = open_receipt(one["proof"], key)
        require(unbase64(one["entry"]) == data, "the proof is of the entry")
        event = read_entry(data)
        fields(event, event["type"])
        require(event["draw"] == body["draw_id"], "an entry about this draw")
        index = decimal(one["proof"].split("index ", 1)[1].split("\n")[0])
        note = one["proof"].split("\n\n", 1)[1]
        entries.append((index, data, event, open_checkpoint(note, key), note))
    indexes = [index for index, *_ in entries]
    require(indexes == sorted(set(indexes)), "entries in the order of the log")
    times = [event["at"] for _, _, event, *_ in entries]
    require(times == sorted(times), "times that do not go back")
    kinds = "".join({"draw_announced": "a", "draw_rescheduled": "r", "draw_sealed": "s", "draw_completed": "c"}.get(
        event["type"], {"open": "o", "closed": "v"}.get(event.get("stage"), "?")) for _, _, event, *_ in entries)
    require(re.fullmatch("ar*(o|s(c|v)?)?", kinds), "announced, rescheduled, sealed, ended")
    return entries


def check_list(bundles, rules, winning, sealed):
    """The winners of each tier in a list, which must be the sealed one."""
    leaves, first, matches = [], 1, [0] * 65
    for entry in (entry for bundle in bundles for entry in entries_of_bundle(bundle)):
        order = read_entry(entry)
        require(set(order) == {"first", "owner", "picks"} and order["first"] == first, "tickets without a gap")
        hash_of(order["owner"])
        for pick in order["picks"]:
            require(len(pick) == rules["pick"] and all(type(one) is int for one in pick), "numbers of a ticket")
            require(pick == sorted(set(pick)) and 1 <= pick[0] and pick[-1] <= rules["of"], "legal numbers")
            matches[len(set(pick) & set(winning))] += 1
        require(order["picks"], "an order has tickets")
        first += len(order["picks"])
        leaves.append(leaf_hash(entry))
    found = len(leaves), first - 1, root(leaves)
    require(found == (sealed["orders"], sealed["tickets"], hash_of(sealed["root"])), "the sealed list")
    return [matches[tier["matches"]] for tier in rules["tiers"]]


def verify_draw(body, key, previous=None, bundles=None):
    """What was drawn, or would have been, as far as the draw has come."""
    entries = proven_entries(body, key)
    heads = {}
    for *_, (size, tree_root), _ in entries:
        require(heads.setdefault(size, tree_root) == tree_root, "a fork of the log")
    _, announcement, announced, *_ = entries[0]
    rules, beacon = announced["rules"], announced.get("beacon")
    check_rules(rules)
    name, log_key = vkey(announced["ticket_log"])
    require(name == key[0].removesuffix("log") + f"draws/{body['draw_id']}/log", "the key of the draw's list")
    require(log_key[0] == 1 and len(log_key) == 33, "a key that signs a log")
    policy = body["policy"]
    require((policy is None) == ("policy" not in announced), "the announced witness policy")
    if policy is not None:
        require(sha256(policy.encode()) == hash_of(announced["policy"]), "the announced witness policy")
        policy = read_policy(policy)
    if beacon:
        fields(beacon, "beacon")
        require(announced["fairness"] == "beacon" and "commitment" not in announced, "mode beacon")
        require(hash_of(beacon["chain"]) == QUICKNET and hash_of(beacon["public_key"], 96) == QUICKNET_KEY, "quicknet")
    else:
        require(announced["fairness"] == "commit_reveal" and "commitment" in announced, "mode commit_reveal")
    require(announced["at"] <= announced["sales_close_at"], "announced before the end of the sale")
    close = draw_at = number = sealed = None
    for index, _, event, _, note in entries:
        if event["type"] in ("draw_announced", "draw_rescheduled"):
            require(not beacon or close is None or event["at"] <= close, "times changed before the end of the sale")
            close, draw_at = event["sales_close_at"], event["draw_at"]
            number = beacon["round"] if beacon and event is announced else event.get("round")
            require(close <= draw_at, "the draw after the end of the sale")
            expected = max(draw_at - GENESIS + PERIOD - 1, 0) // PERIOD + 1 if beacon else None
            require(number == expected, "the first round at or after the time of the draw")
        elif event["type"] == "draw_sealed":
            sealed, seal_index = event, index
            require(event["tickets"] >= event["orders"], "orders have tickets")
            require(event["orders"] or (event["tickets"], hash_of(event["root"])) == (0, sha256()), "an empty list")
            require(event["at"] <= close if "by_hand" in event else event["at"] >= close, "the time of the seal")
            round_time = GENESIS + PERIOD * (number - 1) if beacon else None
            require(not beacon or event["at"] < round_time, "sealed before the round")
            if policy:
                has_quorum(note, policy, round_time - 5 if beacon else 2**64)
    index, _, end, *_ = entries[-1]
    if end["type"] not in ("draw_completed", "draw_voided"):
        return None
    shown = {name for name in ("seed", "signature") if name in end}
    if end["type"] == "draw_voided":
        require(shown == ({"seed"} if sealed and not beacon else set()), "what a cancelled draw shows")
        if not sealed:
            require(not beacon or end["at"] <= close, "cancelled before the numbers were final")
            return None
        if beacon:
            notes = [note for *_, (size, _), note in entries if size > seal_index]
            raise Refused(void_of_round(end, round_time, notes, policy))
    game = announcement, number or 0, rules["pick"], rules["of"]
    if beacon:
        require(shown == {"signature"} and end["at"] >= round_time, "a result shows the round")
        randomness = round_randomness(QUICKNET_KEY, number, hash_of(end["signature"], 48))
        numbers = sorted(draw_numbers(bytes(32), randomness, *game))
    else:
        require(shown == {"seed"}, "a result shows the seed")
        seed = hash_of(end["seed"])
        require(commitment(seed, name) == hash_of(announced["commitment"]), "the committed seed")
        numbers = sorted(draw_numbers(seed, hash_of(sealed["root"]) + u64(sealed["orders"]), *game))
    if end["type"] == "draw_voided":
        raise Refused(f"cancelled after its seal ({end['reason']}): it would have drawn {numbers}")
    require(numbers == end["winning_numbers"], "the numbers follow")
    if not beacon and "by_hand" not in end:
        require("by_hand" not in sealed and end["at"] >= draw_at, "a draw by hand says so")
    tiers = [fields(tier, "result tier") for tier in end["tiers"]]
    winners = [tier["winners"] for tier in tiers]
    require([tier["matches"] for tier in tiers] == [tier["matches"] for tier in rules["tiers"]], "the tiers of the rules")
    require(sum(winners) <= sealed["tickets"], "no more winners than tickets")
    paid = prizes(rules, sealed["tickets"] * rules["price"], end["jackpot"], winners)
    require(paid == (end["prize_fund"], [tier["prize"] for tier in tiers], end["rollover"]), "the prizes follow")
    if bundles is not None:
        require(check_list(bundles, rules, numbers, sealed) == winners, "the counted winners")
    if previous is not None and ("after" in end or end["jackpot"]):
        before = proven_entries(previous, key)
        after, _, ended, *_ = before[-1]
        require((after, ended["type"]) == (end.get("after"), "draw_completed") and after < index, "the entry before")
        require(before[0][2]["lottery"] == announced["lottery"], "of the same lottery")
        require(ended["rollover"] == end["jackpot"], "the jackpot is what rolled over")
        for *_, (size, tree_root), _ in before:
            require(heads.setdefault(size, tree_root) == tree_root, "a fork of the log")
    return numbers


def void_of_round(end, round_time, notes, policy):
    """What is wrong with a draw of the mode beacon that was cancelled after its seal: nothing makes it right."""
    at, reason = end["at"], end["reason"]
    if reason == "no_quorum":
        limit = round_time - 5
        if policy is None or policy[1] == "none":
            reason += ", refuted: no witnesses were announced"
        elif at < limit:
            reason += ", refuted: cosignatures still counted"
        elif any(has_quorum(note, policy, limit) for note in notes):
            reason += ", refuted: the quorum has cosigned the seal in time"
    elif reason == "no_round" and at < round_time + 24 * 60 * 60:
        reason += ", refuted: the round was still awaited"
    elif reason not in ("no_round", "list_mismatch", "log_rolled_back"):
        reason += ", which nobody can check"
    return f"cancelled after its seal ({reason})"


def load(path):
    return json.loads(path.read_text())


def bundles_of(directory):
    """The entry bundles in their order: tile/entries/000, and a partial one in 001.p/."""
    paths = sorted(path for path in (directory / "tile/entries").rglob("*") if path.is_file())
    return [path.read_bytes() for path in paths]


def check_transcripts(directory):
    key = vkey((directory / "key").read_text().strip())
    seeded = directory / "commit_reveal"
    draw = load(seeded / "proof.json")
    verify_draw(draw, key, load(seeded / "previous.json"), bundles_of(seeded))
    verify_draw(load(seeded / "previous.json"), key, None, bundles_of(directory / "previous"))
    announced = read_entry(unbase64(draw["entries"][0]["entry"]))
    for name in ("receipt", "sealed_receipt"):
        receipt = load(seeded / f"{name}.json")
        order = read_entry(open_receipt(receipt["proof"], vkey(announced["ticket_log"])))
        require(order["owner"] == owner(unbase64(receipt["salt"]), 42), "the order of user 42")
    rounds = load(directory / "beacon/proof.json")
    verify_draw(rounds, key, None, bundles_of(directory / "beacon"))
    policy = read_policy((directory / "policy").read_text())
    note = rounds["entries"][1]["proof"].split("\n\n", 1)[1]
    before = GENESIS + PERIOD * 122 - 5
    require(has_quorum(note, policy, before) and not has_quorum(note, policy, before - 594), "cosigned in time")
    refused = why_refused(lambda: verify_draw(load(directory / "voided/proof.json"), key))
    require("it would have drawn [" in refused, "what would have been drawn")
    for name, why in (("no_quorum", "refuted: the quorum has"), ("no_round", "refuted: the round was still awaited"),
                      ("operator", "nobody can check")):
        refused = why_refused(lambda: verify_draw(load(directory / f"voided/{name}.json"), key))
        require(why in refused, f"voided/{name}: {refused}")
    require(verify_draw(load(directory / "voided/before_seal.json"), key) is None, "cancelled before its seal")


def why_refused(verify):
    try:
        verify()
    except Refused as refused:
        return str(refused)
    raise Refused("accepted, although it must be refused")


def judge_altered(directory, published):
    """The first implementation has written these transcripts, and whether nothing contradicts them."""
    key = vkey((published / "key").read_text().strip())
    bundles = bundles_of(published / "commit_reveal")
    files = sorted(directory.iterdir())
    require(files, "altered transcripts")
    for path in files:
        altered = load(path)
        verify = lambda _: verify_draw(altered["transcript"], key, altered["previous"], bundles)
        require(refuses(verify, b"") != altered["accepted"], f"judged otherwise: {altered['name']}")
    print(f"{len(files)} altered transcripts are judged alike")


# The vectors

def check_vectors(vectors):
    leaf = vectors["leaf"]
    entry = {"first": 1, "owner": owner(bytes.fromhex(leaf["salt"]), leaf["user"]),
             "picks": [[1, 7, 13, 22, 36], [2, 3, 5, 8, 13]]}
    require(json.dumps(entry, sort_keys=True, separators=(",", ":")) == leaf["entry"], "entry")
    require(leaf_hash(leaf["entry"].encode()).hex() == leaf["hash"], "leaf")

    keys = vectors["keys"]
    master, origin = bytes.fromhex(keys["master"]), keys["origin"]
    derive = lambda label, number: expand(master, label + b"\0" + u64(number), 32)
    seed = derive(b"lottery/seed/v1", keys["draw"])
    require(seed.hex() == keys["seed"] and commitment(seed, origin).hex() == keys["commitment"], "seed")
    require(commitment(bytes(range(32)), origin).hex() == keys["commitment_of_the_seed_0_to_31"], "commitment")
    require(make_vkey(origin, 1, derive(b"lottery/ticket-log/v1", 7)) == keys["ticket_log_vkey"], "ticket log's key")
    public_key = make_vkey("lottery.example/api/v1/log", 1, derive(b"lottery/public-log/v1", 0))
    require(public_key == keys["public_log_vkey"], "public log's key")
    salted = b"lottery/salt/v1\0" + u64(keys["draw"]) + bytes.fromhex(keys["payment"])
    salt = hmac.digest(derive(b"lottery/salt-key/v1", keys["draw"]), salted, "sha256")[:16]
    require(salt.hex() == keys["salt"], "salt")

    merkle = vectors["merkle"]
    leaves = [leaf_hash(f"{merkle['leaf_prefix']}{index}".encode()) for index in range(600)]
    for tree in merkle["trees"]:
        part = leaves[:tree["size"]]
        require(root(part).hex() == tree["root"] and edge(part).hex() == tree["edge"], f"tree of {tree['size']}")
    for proof in merkle["proofs_of_600"]:
        number = proof["number"]
        path = inclusion(leaves, number)
        require([one.hex() for one in path] == proof["inclusion"], f"inclusion of {number}")
        require(root_of_proof(leaves[number], number, 600, path) == root(leaves), f"root from {number}")
        path = consistency(leaves, number) if number else []
        require([one.hex() for one in path] == proof["consistency"], f"consistency of {number}")

    texts = vectors["texts"]
    key = vkey(texts["vkey"])
    entries = list(entries_of_bundle(bytes.fromhex(texts["bundle"])))
    first = 1
    for order in map(read_entry, entries):
        require(order["first"] == first, "the tickets of the orders have no gap")
        first += len(order["picks"])
    require(open_checkpoint(texts["checkpoint"], key) == (2, root([leaf_hash(one) for one in entries])), "checkpoint")
    require(open_note(texts["checkpoint"], vkey(texts["witness_vkey"]))[1] == [texts["cosigned_at"]], "cosignature")
    require([open_receipt(one, key) for one in texts["receipts"]] == entries, "receipts")
    refuses_altered(texts["receipts"][0], lambda text: open_receipt(text, key))
    own = texts["checkpoint"][:texts["checkpoint"].rindex("\u2014")]
    refuses_altered(own, lambda text: open_checkpoint(text, key))
    cosigned = open_note(texts["checkpoint"], key)[0] + "\n" + texts["checkpoint"][len(own):]
    refuses_altered(cosigned, lambda text: open_note(text, vkey(texts["witness_vkey"])))
    check_entries(vectors["entries"])

    numbers, beacon = vectors["numbers"], vectors["beacon"]
    sealed = bytes.fromhex(numbers["root"]) + u64(numbers["orders"])
    seed, randomness = bytes.fromhex(numbers["seed"]), bytes.fromhex(numbers["randomness"])
    for game in numbers["games"]:
        size = numbers["announcement"].encode(), 0, game["k"], game["n"]
        require(draw_numbers(seed, sealed, *size) == game["commit_reveal"], f"seed {size}")
        require(draw_numbers(seed, sha256() + u64(0), *size) == game["empty_draw"], f"empty draw {size}")
        size = numbers["announcement"].encode(), numbers["round"], game["k"], game["n"]
        require(draw_numbers(bytes(32), randomness, *size) == game["beacon"], f"beacon {size}")

    require(beacon["time"] == beacon["genesis"] + beacon["period"] * (beacon["round"] - 1), "time of the round")
    public_key, signature = bytes.fromhex(beacon["public_key"]), bytes.fromhex(beacon["signature"])
    info = beacon["period"].to_bytes(4, "big"), u64(beacon["genesis"]), public_key, bytes.fromhex(beacon["group_hash"])
    require(sha256(*info, beacon["id"].encode()).hex() == beacon["chain_hash"], "hash of the chain")
    require(round_randomness(public_key, beacon["round"], signature).hex() == beacon["randomness"], "round")
    try:
        round_randomness(public_key, beacon["round"] + 1, signature)
    except Refused:
        return
    raise Refused("the signature is not that of another round")


def refuses(verify, data):
    try:
        verify(data.decode())
    except (Refused, InvalidSignature, ValueError, KeyError, TypeError):
        return True
    return False


def flipped(data, bit):
    return data[:bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1:]


def refuses_altered(text, verify):
    """Every prefix, every flipped bit, every byte left out, and inserted bytes at every place must be refused."""
    verify(text)
    data = text.encode()
    places = range(len(data))
    altered = [data[:at] for at in places] + [flipped(data, bit) for bit in range(8 * len(data))]
    altered += [data[:at] + data[at + 1:] for at in places]
    altered += [data[:at] + bytes([byte]) + data[at:] for at in range(len(data) + 1) for byte in b" \n\t\r#+=A0,x"]
    for one in altered:
        require(refuses(verify, one), f"accepted although altered: {one!r}")


def check_entries(entries):
    read = lambda text: read_entry(text.encode())
    for text in entries["accepted"]:
        read(text)
    for text in entries["refused"]:
        require(refuses(read, text.encode()), f"an entry although {text}")
    # Which flipped bits give another entry, both implementations say alike.
    data = entries["accepted"][0].encode()
    flips = bytes(sum((not refuses(read, flipped(data, 8 * at + bit))) << bit for bit in range(8)) for at in range(len(data)))
    require(flips.hex() == entries["flippable"], "flipped bits of an entry")


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent.parent
    match sys.argv[1:]:
        case []:
            check_vectors(load(here / "vectors.json"))
            check_transcripts(here / "vectors")
            print("all vectors and transcripts hold")
        case ["--altered", directory]:
            judge_altered(pathlib.Path(directory), here / "vectors")
        case [proof, key, *more]:
            previous = load(pathlib.Path(more[0])) if more else None
            bundles = bundles_of(pathlib.Path(more[1])) if more[1:] else None
            print("numbers:", verify_draw(load(pathlib.Path(proof)), vkey(key), previous, bundles))
