// The verifier's steps on whole draws that this test plays itself, with keys of its own: an honest draw holds in each
// mode, and each kind of tampering is found in its step. Runs in Node with nothing installed.

import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const root = new URL("../../", import.meta.url);
const load = (name) => import(new URL(`web/js/verify/${name}.js`, root));
const { base64, concat, fromHex, hex, sha256, u64, unbase64, utf8 } = await load("bytes");
const { leafHash, nodeHash, Tree } = await load("merkle");
const { commitmentOf, drawNumbers, ownerOf, sealedMaterial } = await load("numbers");
const { QUICKNET, roundTime } = await load("beacon");
const { checkDraw } = await load("check");
const { prizesOf } = await load("transcript");
const { beacon: round123 } = JSON.parse(
  readFileSync(new URL("crates/verifiable-draw/vectors.json", root), "utf8"),
);

const DRAW = 7;
const USER = 42;
const LATE = roundTime(round123.round);
const SALT = new Uint8Array(16).fill(9);
const LOG = "lottery.example/api/v1/log";
const TICKET_LOG = `lottery.example/api/v1/draws/${DRAW}/log`;
const RULES = {
  currency: "RUB",
  fund_share: 5000,
  of: 36,
  pick: 5,
  price: 10000,
  tiers: [{ matches: 2, amount: 10000 }],
};

/** Canonical JSON of what the test writes. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const fields = Object.keys(value).filter((key) => value[key] !== undefined);
  return `{${fields
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`)
    .join()}}`;
}

const [OF_LOG, OF_WITNESS] = [1, 4];

/** An Ed25519 key of a log or a witness. */
class Key {
  constructor(name, kind = OF_LOG) {
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), randomBytes(32)]);
    this.secret = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
    const raw = createPublicKey(this.secret).export({ format: "der", type: "spki" }).subarray(-32);
    this.name = name;
    this.key = concat(Uint8Array.of(kind), new Uint8Array(raw));
    this.id = sha256(utf8(name), Uint8Array.of(10), this.key).subarray(0, 4);
    this.vkey = `${name}+${hex(this.id)}+${base64(this.key)}`;
  }

  checkpoint(size, treeRoot) {
    const text = `${this.origin ?? this.name}\n${size}\n${base64(treeRoot)}\n`;
    const signature = new Uint8Array(sign(null, Buffer.from(text), this.secret));
    return `${text}\n— ${this.name} ${base64(concat(this.id, signature))}\n`;
  }

  /** The line of a witness that has seen a checkpoint at a time. */
  cosign(text, time) {
    const signature = sign(null, Buffer.from(`cosignature/v1\ntime ${time}\n${text}`), this.secret);
    return `— ${this.name} ${base64(concat(this.id, u64(time), new Uint8Array(signature)))}\n`;
  }
}

const split = (size) => 2 ** (Math.ceil(Math.log2(size)) - 1);
const rootOf = (leaves) =>
  leaves.length < 2
    ? (leaves[0] ?? sha256(new Uint8Array()))
    : nodeHash(rootOf(leaves.slice(0, split(leaves.length))), rootOf(leaves.slice(split(leaves.length))));

function pathOf(leaves, index) {
  if (leaves.length < 2) return [];
  const k = split(leaves.length);
  return index < k
    ? [...pathOf(leaves.slice(0, k), index), rootOf(leaves.slice(k))]
    : [...pathOf(leaves.slice(k), index - k), rootOf(leaves.slice(0, k))];
}

/** The tlog-proofs of all entries of a log, against its last checkpoint. */
function proofs(key, entries) {
  const leaves = entries.map((entry) => leafHash(utf8(entry)));
  const note = key.checkpoint(leaves.length, rootOf(leaves));
  return entries.map((entry, index) => {
    const path = pathOf(leaves, index).map((hash) => `${base64(hash)}\n`);
    return `c2sp.org/tlog-proof@v1\nextra ${base64(utf8(entry))}\nindex ${index}\n${path.join("")}\n${note}`;
  });
}

/**
 * Plays a draw and answers a source for the verifier. `alter` changes what is published: `orders` after they were sold, `list`
 * after it was sealed, `announced`, `sealed`, `completed` before they are logged. `before` and `after` are entries of other draws in
 * the log: those of the draw with the id `DRAW - 1` are what `source.previous` answers. `moves` are changes of its times, and
 * `witnesses` is `{policy, cosign(text)}`.
 */
function play({
  mode = "commit_reveal",
  alter = {},
  quicknet = true,
  until = "completed",
  before = [],
  after = [],
  moves = [],
  witnesses = null,
} = {}) {
  const [log, ticketLog, seed] = [new Key(LOG), new Key(TICKET_LOG), new Uint8Array(randomBytes(32))];
  const beacon = {
    chain: base64(quicknet ? fromHex(QUICKNET.chain) : new Uint8Array(32)),
    public_key: base64(QUICKNET.publicKey),
    round: round123.round,
  };
  const at = roundTime(round123.round) - 1000;
  const announced = canonical({
    type: "draw_announced",
    draw: DRAW,
    at,
    lottery: "5of36",
    number: 1,
    rules: RULES,
    sales_close_at: at + 500,
    draw_at: at + 1000,
    fairness: mode,
    ticket_log: ticketLog.vkey,
    ...(mode === "beacon" ? { beacon } : { commitment: base64(commitmentOf(seed, TICKET_LOG)) }),
    policy: witnesses ? base64(sha256(utf8(witnesses.policy))) : undefined,
    ...alter.announced,
  });
  let first = 1;
  let orders = Array.from({ length: 300 }, (_, index) => {
    const picks = Array.from({ length: 1 + (index % 3) }, (_, line) =>
      [1 + ((index + line) % 8), 10, 17, 25, 30 + (index % 7)].sort((a, b) => a - b),
    );
    const order = { first, owner: ownerOf(SALT, USER + index), picks };
    first += picks.length;
    return order;
  });
  // Receipts are given when an order is sold.
  const sold = orders.map(canonical);
  let receipts;
  if (alter.orders) orders = alter.orders(orders);
  const tickets = orders.reduce((sum, order) => sum + order.picks.length, 0);
  let list = orders.map((order) => utf8(canonical(order)));
  const leaves = list.map(leafHash);
  const tree = new Tree();
  leaves.forEach((leaf) => tree.add(leaf));
  const sealed = canonical({
    type: "draw_sealed",
    draw: DRAW,
    at: at + 500,
    orders: orders.length,
    tickets,
    root: base64(tree.root),
    ...alter.sealed,
  });
  const drawn =
    mode === "beacon"
      ? drawNumbers(new Uint8Array(32), fromHex(round123.randomness), utf8(announced), round123.round, 5, 36)
      : drawNumbers(seed, sealedMaterial(tree.root, orders.length), utf8(announced), 0, 5, 36);
  const winning = [...drawn].sort((a, b) => a - b);
  const winners = orders
    .flatMap((order) => order.picks)
    .filter((pick) => pick.filter((number) => winning.includes(number)).length === 2);
  const jackpot = alter.completed?.jackpot ?? 0;
  const prizes = prizesOf(RULES, tickets, jackpot, [winners.length]);
  const completed = canonical({
    type: "draw_completed",
    draw: DRAW,
    at: at + 1001,
    winning_numbers: winning,
    prize_fund: Number(prizes.fund),
    jackpot,
    rollover: Number(prizes.rollover),
    tiers: [
      { matches: 2, winners: alter.winners?.(winners.length) ?? winners.length, prize: alter.prize ?? 10000 },
    ],
    ...(mode === "beacon" ? { signature: base64(fromHex(round123.signature)) } : { seed: base64(seed) }),
    ...alter.completed,
  });
  const voided = canonical({
    type: "draw_voided",
    draw: DRAW,
    at: at + 900,
    stage: "closed",
    reason: "a flood",
    seed: mode === "beacon" ? undefined : base64(seed),
    ...alter.voided,
  });
  const moved = moves.map((move) => canonical({ type: "draw_rescheduled", draw: DRAW, ...move }));
  const chosen = {
    announced: [announced],
    sealed: [announced, sealed],
    completed: [announced, ...moved, sealed, completed],
    voided: [announced, sealed, voided],
  }[until];
  // Other draws are in the log, too.
  const entries = ['"another draw"', ...before, ...chosen, ...after];
  log.origin = alter.origin;
  const proved = proofs(log, entries);
  const publish = (some) =>
    some.map((entry) => {
      const proof = proved[entries.indexOf(entry)];
      const [, text] = proof.split("\n\n");
      return { entry: base64(utf8(entry)), proof: proof + (witnesses?.cosign(`${text}\n`) ?? "") };
    });
  const published = publish(chosen);
  // The operator shows another log of the same size.
  if (alter.fork) published[0].proof = proofs(log, ['"a log for others"', ...chosen])[1];
  if (alter.list) list = alter.list(list);
  const bundle = (path) => {
    const [, tile, width] = /^tile\/entries\/(\d{3})(?:\.p\/(\d+))?$/.exec(path);
    const from = Number(tile) * 256;
    return concat(
      ...list
        .slice(from, from + Number(width ?? 256))
        .flatMap((entry) => [Uint8Array.of(entry.length >> 8, entry.length & 255), entry]),
    );
  };
  return {
    winning,
    entries: chosen,
    receiptOf: (index) => {
      receipts ??= proofs(ticketLog, sold);
      return { proof: receipts[index], salt: base64(SALT), user_id: USER + index };
    },
    source: {
      receipt: null,
      keys: async () => ({ log: log.vkey }),
      proof: async () => ({ draw_id: DRAW, policy: witnesses?.policy ?? null, entries: published }),
      draw: async () => ({ winning_numbers: alter.shown ?? winning }),
      bundle: async (path) => bundle(path),
      previous: async () => ({ draw_id: DRAW - 1, policy: null, entries: publish([...before, ...after]) }),
    },
  };
}

/** Verifies, and answers the state of each step, the code of the refusal, and what was found. */
async function verify(source, id = DRAW) {
  const states = {};
  let refused;
  const found = await checkDraw(id, source, (step) => {
    states[step.key] = step.state;
    refused ??= step.refused?.code;
  });
  return { states, refused, found };
}

/** The step that fails, and why. */
async function fails(game, source = {}) {
  const { states, refused, found } = await verify({ ...game.source, ...source });
  assert.ok(found.failed, "it is found");
  return `${Object.entries(states).find(([, state]) => state === "bad")[0]}: ${refused}`;
}

test("an honest draw holds in each mode", async () => {
  for (const mode of ["commit_reveal", "beacon"]) {
    const { states, found } = await verify(play({ mode }).source);
    assert.deepEqual(new Set(Object.values(states)), new Set(["ok"]), JSON.stringify(states));
    assert.deepEqual(
      [found.failed, found.waits, found.mode, Boolean(found.unknownBeacon)],
      [false, false, mode, false],
    );
    assert.deepEqual(found.list, { orders: 300, tickets: 600 });
  }
});

test("what is not published yet waits, and is not green", async () => {
  const { states, found } = await verify(play({ until: "announced" }).source);
  assert.deepEqual(
    [states.log, states.entries, states.list, states.commitment, states.numbers],
    ["ok", "ok", "wait", "wait", "wait"],
  );
  assert.ok(found.waits && !found.failed);
  assert.equal((await verify(play({ until: "sealed" }).source)).states.list, "ok");
});

test("a cancelled draw shows what would have been drawn", async () => {
  const game = play({ until: "voided" });
  const { found } = await verify(game.source);
  assert.equal(found.voided.reason, "a flood");
  assert.deepEqual([found.failed, found.voidedLate, found.witnesses, found.witnessed], [false, true, 0, false]);
  assert.deepEqual(
    [...found.drawn].sort((a, b) => a - b),
    game.winning,
  );
});

test("a reason for which a draw was cancelled is refuted where the page can tell", async () => {
  const round = roundTime(round123.round);
  const refuted = async (reason, at, game = {}, source = {}) => {
    const played = play({
      mode: "beacon",
      until: "voided",
      ...game,
      alter: { voided: { reason, at }, ...game.alter },
    });
    return (await verify({ ...played.source, ...source })).found.refuted;
  };
  assert.equal(await refuted("no_round", round + 86_400 - 1), "early");
  assert.equal(await refuted("no_round", round + 86_400), null);
  assert.equal(await refuted("no_round", round + 86_400, {}, { signature: round123.signature }), "signed");
  // Of an unknown beacon nobody here knows when a round is.
  assert.equal(await refuted("no_round", round, { quicknet: false }), null);
  assert.equal(await refuted("no_quorum", round), "unwitnessed");
  assert.equal(await refuted("list_mismatch", round), "listed");
  assert.equal(await refuted("log_rolled_back", round), null);
  // In the other mode neither witnesses nor rounds have a say.
  for (const reason of ["no_round", "no_quorum"])
    assert.equal(await refuted(reason, round - 100, { mode: "commit_reveal" }), null);
  assert.equal(await refuted("list_mismatch", round, { mode: "commit_reveal" }), "listed");
  // A list that differs proves what the operator says.
  const other = { alter: { list: (list) => list.slice(0, -1) } };
  assert.equal(await refuted("list_mismatch", round, other), null);
});

test("a beacon that the page does not know is told", async () => {
  const { found } = await verify(play({ mode: "beacon", quicknet: false }).source);
  assert.ok(found.unknownBeacon && !found.failed);
});

test("each kind of tampering is found in its step", async () => {
  const other = (numbers) => numbers.map((number, at) => (at ? number : number - 1));
  const changePick = (list) => list.with(3, utf8(new TextDecoder().decode(list[3]).replace("17", "18")));
  assert.equal(await fails(play(), { keys: async () => ({ log: new Key(LOG).vkey }) }), "log: unsigned");
  assert.equal(await fails(play({ alter: { list: changePick } })), "list: list_root");
  assert.equal(await fails(play({ alter: { list: (list) => list.toSpliced(5, 1) } })), "list: gap");
  // The operator may sell and seal what its own rules do not allow.
  const pick = (numbers) => ({
    orders: (orders) => orders.with(7, { ...orders[7], picks: orders[7].picks.with(0, numbers) }),
  });
  for (const numbers of [
    [1, 2, 3, 4],
    [1, 2, 3, 4, 5, 6],
    [1, 2, 3, 4, 37],
    [1, 2, 3, 4, 64],
  ])
    assert.equal(await fails(play({ alter: pick(numbers) })), "list: pick", numbers.join());
  assert.equal((await verify(play({ alter: pick([1, 2, 3, 4, 36]) }).source)).states.list, "ok");
  const more = (fields) => ({ orders: (orders) => orders.with(7, { ...orders[7], ...fields }) });
  for (const fields of [{ price: 1 }, { owner: undefined }])
    assert.equal(await fails(play({ alter: more(fields) })), "list: order", JSON.stringify(fields));
  for (const numbers of [[1, 2, 3, 4, 65], [0, 1, 2, 3, 4], [1, 2, 2, 3, 4], [2, 1, 3, 4, 5], []])
    assert.equal(await fails(play({ alter: pick(numbers) })), "list: order", numbers.join());
  assert.equal(await fails(play({ alter: { list: (list) => list.slice(0, -1) } })), "list: orders");
  assert.equal(await fails(play({ alter: { sealed: { tickets: 601 } } })), "list: tickets");
  assert.equal(await fails(play({ alter: { sealed: { root: base64(sha256(utf8("x"))) } } })), "list: list_root");
  assert.equal(
    await fails(play({ alter: { completed: { seed: base64(new Uint8Array(32)) } } })),
    "commitment: commitment",
  );
  const honest = play();
  assert.equal(
    await fails(play({ alter: { completed: { winning_numbers: other(honest.winning) } } })),
    "numbers: numbers",
  );
  assert.equal(await fails(play({ alter: { shown: [1, 2, 3, 4, 5] } })), "shown: shown");
  assert.equal(
    await fails(play({ alter: { winners: (counted) => (counted ? counted - 1 : 1) } })),
    "winners: winners",
  );
  assert.equal(
    await fails(
      play({ mode: "beacon", alter: { completed: { signature: base64(QUICKNET.publicKey.subarray(0, 48)) } } }),
    ),
    "beacon: beacon_point",
  );
  assert.equal(
    await fails(
      play({
        mode: "beacon",
        alter: {
          announced: { at: LATE, sales_close_at: LATE, draw_at: LATE },
          sealed: { at: 2e9 },
          completed: { at: 2e9 },
        },
      }),
    ),
    "entries: beacon_late",
  );
  assert.equal(await fails(play({ alter: { announced: { draw: 8 } } })), "entries: other_draw");
  assert.equal(
    await fails(
      play({ alter: { announced: { ticket_log: new Key("lottery.example/api/v1/draws/8/log").vkey } } }),
    ),
    "entries: origin",
  );
  assert.equal(await fails(play({ alter: { sealed: { at: 1 } } })), "entries: times");
  assert.equal(await fails(play({ alter: { origin: "lottery.example/api/v1/other" } })), "log: origin");
  assert.equal(await fails(play({ alter: { fork: true } })), "log: fork");
  assert.equal(await fails(play({ alter: { completed: { prize_fund: 1 } } })), "prizes: fund");
  assert.equal(await fails(play({ alter: { completed: { rollover: 1 } } })), "prizes: rollover");
  assert.equal(await fails(play({ alter: { prize: 10001 } })), "prizes: prize");
});

test("keys that prove nothing are refused, and so is the transcript of another draw", async () => {
  const vkey = (point, change = (id) => id) => {
    const key = concat(Uint8Array.of(1), point);
    return `${LOG}+${change(hex(sha256(utf8(LOG), Uint8Array.of(10), key).subarray(0, 4)))}+${base64(key)}`;
  };
  const withKey = (log) => fails(play(), { keys: async () => ({ log }) });
  // The neutral point signs everything.
  assert.equal(await withKey(vkey(Uint8Array.of(1, ...new Uint8Array(31)))), "log: vkey_point");
  const point = unbase64(new Key(LOG).vkey.split("+").slice(2).join("+")).subarray(1);
  assert.equal(await withKey(vkey(point, (id) => (id === "00000000" ? "00000001" : "00000000"))), "log: vkey_id");
  assert.equal(await withKey(vkey(point)), "log: unsigned");
  const game = play();
  const transcript = await game.source.proof();
  assert.equal(
    await fails(game, { proof: async () => ({ ...transcript, draw_id: DRAW + 1 }) }),
    "log: other_draw",
  );
});

test("records that are left out or changed are found", async () => {
  const game = play();
  const transcript = await game.source.proof();
  const without = (at) => ({
    proof: async () => ({ ...transcript, entries: transcript.entries.toSpliced(at, 1) }),
  });
  assert.equal(await fails(game, without(0)), "entries: announced");
  assert.equal(await fails(game, without(1)), "entries: no_seal");
  const turned = { proof: async () => ({ ...transcript, entries: transcript.entries.toReversed() }) };
  assert.equal(await fails(game, turned), "log: order_of_entries");
  const [announcement] = transcript.entries;
  const changed = base64(
    utf8(new TextDecoder().decode(unbase64(announcement.entry)).replace('"number":1', '"number":2')),
  );
  const swapped = { entry: changed, proof: announcement.proof.replace(announcement.entry, changed) };
  assert.equal(
    await fails(game, { proof: async () => ({ ...transcript, entries: transcript.entries.with(0, swapped) }) }),
    "log: root",
  );
  const entryOnly = { ...announcement, entry: changed };
  assert.equal(
    await fails(game, { proof: async () => ({ ...transcript, entries: transcript.entries.with(0, entryOnly) }) }),
    "log: other_entry",
  );
});

test("the jackpot that came in is what the draw before it rolled over", async () => {
  const JACKPOT = 500;
  /** The entries of the draw before. */
  const earlier = (alter = {}, until = "completed") => {
    const draw = { draw: DRAW - 1 };
    return play({
      until,
      alter: {
        announced: { ...draw, ...alter.announced },
        sealed: draw,
        completed: { ...draw, rollover: JACKPOT, ...alter.completed },
        voided: draw,
      },
    }).entries;
  };
  // Where the draw before has its end in the log.
  const at = 3;
  const later = (others, end = at) => play({ ...others, alter: { completed: { jackpot: JACKPOT, after: end } } });
  const { states, found } = await verify(later({ before: earlier() }).source);
  assert.deepEqual([states.jackpot, found.failed], ["ok", false]);
  const other = { completed: { rollover: JACKPOT - 1 } };
  assert.equal(await fails(later({ before: earlier(other) })), "jackpot: jackpot");
  assert.equal(await fails(later({ before: earlier({ announced: { lottery: "6of45" } }) })), "jackpot: after");
  assert.equal(await fails(later({ before: earlier({}, "voided") })), "jackpot: after");
  assert.equal(await fails(later({ before: earlier({}, "sealed") }, at - 1)), "jackpot: after");
  assert.equal(await fails(later({ before: earlier() }, at - 1)), "jackpot: after", "another entry");
  assert.equal(await fails(later({ after: earlier() }, 2 * at)), "jackpot: after", "a draw that ended later");
  const wrongId = later({ before: earlier() });
  const transcript = await wrongId.source.previous();
  const renamed = { previous: async () => ({ ...transcript, draw_id: DRAW - 2 }) };
  assert.equal(await fails(wrongId, renamed), "jackpot: other_draw");
  const unknown = await verify({ ...wrongId.source, previous: async () => null });
  assert.deepEqual([unknown.states.jackpot, unknown.found.jackpotUnknown], ["skip", true]);
});

test("times that no honest draw has are refused", async () => {
  const close = LATE - 500;
  const late = { announced: { at: close + 100 }, sealed: { at: close + 100 } };
  assert.equal(await fails(play({ alter: late })), "entries: times", "announced after the end of its sale");
  const beacon = (game) => play({ mode: "beacon", ...game });
  assert.equal(
    await fails(beacon({ alter: { completed: { at: LATE - 1 } } })),
    "entries: times",
    "before the round",
  );
  const sealed = { sealed: { at: LATE }, completed: { at: LATE + 1 } };
  assert.equal(await fails(beacon({ alter: sealed })), "entries: sealed_late");
  assert.equal(await fails(play({ alter: { sealed: { tickets: 10 } } })), "entries: tickets", "fewer than orders");
  const move = (at, changes) => ({
    moves: [{ at, sales_close_at: close + 100, draw_at: LATE, round: round123.round, ...changes }],
    alter: { sealed: { at: close + 100 } },
  });
  assert.equal(await fails(beacon(move(close + 1))), "entries: times", "moved after the end of its sale");
  assert.equal(await fails(beacon(move(close - 1, { round: round123.round + 1 }))), "entries: round");
  const { found } = await verify(beacon(move(close)).source);
  assert.deepEqual([found.failed, found.moved], [false, true], "only the operator says that it was in time");
  const byHand = await verify(beacon({ alter: { sealed: { at: close - 1, by_hand: 1 } } }).source);
  assert.deepEqual([byHand.found.failed, byHand.found.byHand], [false, true]);
});

test("witnesses count if enough of them have seen the seal in time", async () => {
  const [first, second] = ["first", "second"].map((name) => new Key(`witness.example/${name}`, OF_WITNESS));
  const names = `witness one ${first.vkey}\nwitness two ${second.vkey}\n`;
  const limit = LATE - 5;
  const sawIt = async (rule, times) => {
    const cosign = (text) => times.map(([witness, time]) => witness.cosign(text, time)).join("");
    const game = play({ mode: "beacon", witnesses: { policy: `${names}${rule}\n`, cosign } });
    const { found } = await verify(game.source);
    assert.deepEqual([found.failed, found.witnesses], [false, 2]);
    return found.witnessed;
  };
  assert.equal(await sawIt("quorum one", [[first, limit - 1]]), true);
  assert.equal(await sawIt("quorum one", [[first, limit]]), false);
  assert.equal(await sawIt("quorum one", [[second, limit - 1]]), false);
  assert.equal(
    await sawIt("quorum one", [
      [first, limit + 9],
      [first, limit - 1],
    ]),
    true,
    "the earliest time counts",
  );
  const both = "group both all one two\nquorum both";
  assert.equal(await sawIt(both, [[first, limit - 1]]), false);
  assert.equal(
    await sawIt(both, [
      [first, limit - 1],
      [second, limit],
    ]),
    false,
  );
  assert.equal(
    await sawIt(both, [
      [first, limit - 1],
      [second, limit - 1],
    ]),
    true,
  );
});

test("a long list is read only when somebody asks for it", async () => {
  const long = play({ alter: { sealed: { orders: 200_001, tickets: 200_001 } } });
  const { states, found } = await verify(long.source);
  assert.deepEqual([states.list, states.winners, found.list], ["skip", "skip", null]);
  assert.equal(await fails(long, { large: true }), "list: orders");
});

test("prizes that are guaranteed leave nothing for the others, and no less than nothing", () => {
  const tiers = [
    { matches: 3, share: 5000 },
    { matches: 2, amount: 1000 },
  ];
  const { fund, prizes, rollover } = prizesOf({ price: 100, fund_share: 5000, tiers }, 10, 0, [1, 2]);
  assert.deepEqual([fund, prizes, rollover], [500n, [0n, 1000n], 0n]);
});

test("a receipt holds, and tells when its order is not in the list", async () => {
  const game = play();
  const { states } = await verify({ ...game.source, receipt: game.receiptOf(3) });
  assert.deepEqual([states.receipt, states.receipt_owner, states.receipt_list], ["ok", "ok", "ok"]);
  assert.equal(await fails(game, { receipt: { ...game.receiptOf(3), user_id: 1 } }), "receipt_owner: owner");
  // The operator sells an order, gives a receipt, and seals a list without it.
  const cheated = play({ alter: { orders: (orders) => orders.slice(0, -1) } });
  assert.deepEqual((await verify(cheated.source)).found.failed, false, "the rest of the draw holds");
  assert.equal(await fails(cheated, { receipt: cheated.receiptOf(299) }), "receipt_list: not_in_list");
  assert.equal(
    await fails(cheated, { receipt: cheated.receiptOf(3) }),
    "receipt_list: not_in_list",
    "its head had more",
  );
  assert.equal(await fails(play(), { receipt: cheated.receiptOf(3) }), "receipt: unsigned");
  // It changes an order before it seals the list: the owner of this one sees it, and so does everybody who has a receipt.
  const other = { picks: [[1, 2, 3, 4, 5]] };
  const changed = play({ alter: { orders: (orders) => orders.with(6, { ...orders[6], ...other }) } });
  assert.deepEqual((await verify(changed.source)).found.failed, false, "the rest of the draw holds");
  assert.equal(await fails(changed, { receipt: changed.receiptOf(6) }), "receipt_list: not_in_list");
  assert.equal(await fails(changed, { receipt: changed.receiptOf(3) }), "receipt_list: forked_list");
  const bare = await verify({ ...game.source, receipt: { proof: game.receiptOf(3).proof } });
  assert.equal(bare.states.receipt_owner, "skip");
});
