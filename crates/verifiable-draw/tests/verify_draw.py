"""A second implementation of docs/verifiable-draw.md, which shares no code with the first.

    pip install cryptography py_ecc
    python3 verify_draw.py [vectors.json]

It checks the published vectors, and that every alteration of a checkpoint, a cosignature and a receipt is refused.
"""
import base64, hashlib, hmac, json, pathlib, sys
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
    except (Refused, InvalidSignature, ValueError):
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
    default = pathlib.Path(__file__).parent.parent / "vectors.json"
    check_vectors(json.loads(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else default).read_text()))
    print("all vectors hold")
