// The verification of a draw and of a receipt as a list of steps. Each step computes something here; what it says is
// what it computed. Reads nothing by itself: `source` gives what was published.

import { base64, equal, hex, Refused, require, unbase64 } from "./bytes.js";
import { bundlePaths, entriesOf, readEntry, readOrder } from "./entries.js";
import { leafHash, Tree } from "./merkle.js";
import { canVerify, openProof, parseVkey } from "./notes.js";
import { commitmentOf, drawNumbers, ownerOf, sealedMaterial } from "./numbers.js";
import { QUICKNET, roundRandomness, roundTime } from "./beacon.js";

/** Longer lists are verified only when asked for. */
export const LARGE_LIST = 200_000;
const PAUSE_AFTER = 2000;

/** The address at which a draw's ticket log is, from the name of the public log. */
const ticketLogName = (publicLog, draw) => publicLog.replace(/\/log$/, `/draws/${draw}/log`);

/**
 * Verifies a draw. `report(step)` is called at the begin and at the end of each step: `{key, state, facts, refused}` with the
 * state 'run', 'ok', 'bad', 'wait' (not published yet) or 'skip'. Answers what was found.
 *
 * `source`: `{keys(), proof(), draw(), bundle(path), receipt}`; `receipt` is `{proof, salt?, user_id?}` or null.
 */
export async function checkDraw(id, source, report) {
  const found = { id, failed: false, waits: false, mode: null, voided: null, byHand: false, list: null };
  const step = async (key, run) => {
    if (found.failed) return report({ key, state: "skip" });
    report({ key, state: "run" });
    try {
      const facts = await run((progress) => report({ key, state: "run", progress }));
      if (facts === WAITS) {
        found.waits = true;
        report({ key, state: "wait" });
      } else report({ key, state: facts?.skipped ? "skip" : "ok", facts: facts?.facts ?? facts });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      found.failed = true;
      report({ key, state: "bad", refused: error });
    }
  };

  let entries = [];
  let events = [];
  let log;
  let announced;
  let sealed;
  let ended;
  let ticketLog;
  let list = null;
  let material = null;

  await step("log", async () => {
    require(await canVerify(), "browser");
    log = parseVkey((await source.keys()).log);
    const transcript = await source.proof();
    require(transcript && Array.isArray(transcript.entries) && transcript.entries.length > 0, "transcript");
    require(transcript.draw_id === id, "other_draw");
    let head;
    for (const { entry, proof } of transcript.entries) {
      const opened = await openProof(proof, log);
      require(equal(opened.entry, unbase64(entry)), "other_entry");
      require(entries.length === 0 || opened.index > entries.at(-1).index, "order_of_entries");
      entries.push({ bytes: opened.entry, index: opened.index });
      head = opened.checkpoint;
    }
    return [
      ["vkey", log.text],
      ["head", `${head.size} · ${base64(head.root)}`],
      ["indexes", entries.map((entry) => entry.index).join(", ")],
    ];
  });

  await step("entries", () => {
    events = entries.map(({ bytes }) => readEntry(bytes));
    for (const event of events) require(event.draw === id, "other_draw");
    [announced] = events;
    require(announced.type === "draw_announced", "announced");
    sealed = events.find((event) => event.type === "draw_sealed");
    ended = events.find((event) => event.type === "draw_completed" || event.type === "draw_voided");
    const stages = events.map(
      (event) =>
        ({ draw_announced: 0, draw_rescheduled: 1, draw_sealed: 2, draw_completed: 3, draw_voided: 3 })[
          event.type
        ] ?? -1,
    );
    require(stages.every(
      (stage, at) => stage >= 0 && (at === 0 || stage > stages[at - 1] || (stage === 1 && stages[at - 1] === 1)),
    ), "order_of_entries");
    require(events.every((event, at) => at === 0 || event.at >= events[at - 1].at), "times");
    require(ended?.type !== "draw_completed" || sealed, "no_seal");
    ticketLog = parseVkey(announced.ticket_log);
    require(ticketLog.name === ticketLogName(log.name, id), "origin");
    found.mode = announced.fairness;
    found.voided = ended?.type === "draw_voided" ? ended : null;
    found.byHand = Boolean(sealed?.by_hand || ended?.by_hand);
    require(found.mode === "commit_reveal"
      ? announced.commitment
      : found.mode === "beacon" && announced.beacon, "mode");
    return events.map((event) => [
      `event.${event.type}`,
      new Date(event.at * 1000).toISOString().replace(".000", ""),
    ]);
  });

  await step("list", async (progress) => {
    if (!sealed) return WAITS;
    const { orders, tickets, root } = sealed;
    if (orders > LARGE_LIST && !source.large) return { skipped: true, facts: [["large", String(orders)]] };
    const tree = new Tree();
    let next = 1;
    const leaves = source.receipt ? [] : null;
    const counts = new Map();
    const winning = new Set(ended?.winning_numbers ?? []);
    const { pick: size, of } = announced.rules;
    let since = 0;
    for (const path of bundlePaths(orders)) {
      for (const entry of entriesOf(await source.bundle(path))) {
        const order = readOrder(entry);
        require(order.first === next, "gap");
        next += order.picks.length;
        const leaf = leafHash(entry);
        tree.add(leaf);
        leaves?.push(leaf);
        for (const pick of order.picks) {
          require(pick.length === size && pick.at(-1) <= of, "pick");
          const matches = pick.filter((number) => winning.has(number)).length;
          counts.set(matches, (counts.get(matches) ?? 0) + 1);
        }
      }
      if (tree.size - since >= PAUSE_AFTER) {
        since = tree.size;
        progress(tree.size / orders);
        await new Promise((resolve) => setTimeout(resolve));
      }
    }
    require(tree.size === orders, "orders");
    require(next - 1 === tickets, "tickets");
    require(equal(tree.root, unbase64(root, 32)), "list_root");
    list = { counts, leaves };
    found.list = { orders, tickets };
    return [
      ["orders", String(orders)],
      ["tickets", String(tickets)],
      ["root", base64(tree.root)],
    ];
  });

  await step(found.mode === "beacon" ? "beacon" : "commitment", async () => {
    if (found.mode === "beacon") {
      if (!ended?.signature) return found.voided ? { skipped: true } : WAITS;
      const { chain, public_key: key } = announced.beacon;
      const round =
        events.filter((event) => event.type === "draw_rescheduled" && event.round).at(-1)?.round ??
        announced.beacon.round;
      const isQuicknet = hex(unbase64(chain, 32)) === QUICKNET.chain;
      // Whoever runs an unknown beacon may know its rounds in advance.
      found.unknownBeacon = !isQuicknet;
      if (isQuicknet) {
        require(equal(unbase64(key, 96), QUICKNET.publicKey), "beacon_key");
        require(announced.at < roundTime(round), "beacon_late");
      }
      const randomness = await roundRandomness(unbase64(key, 96), round, unbase64(ended.signature, 48));
      material = { salt: new Uint8Array(32), input: randomness, round };
      return [
        ["chain", `${isQuicknet ? "drand quicknet " : ""}${hex(unbase64(chain))}`],
        ["round", String(round)],
        ...(isQuicknet
          ? [["round_time", new Date(roundTime(round) * 1000).toISOString().replace(".000", "")]]
          : []),
        ["randomness", hex(randomness)],
      ];
    }
    if (!ended?.seed) return found.voided ? { skipped: true } : WAITS;
    const seed = unbase64(ended.seed, 32);
    const commitment = commitmentOf(seed, ticketLog.name);
    require(equal(commitment, unbase64(announced.commitment, 32)), "commitment");
    if (sealed)
      material = { salt: seed, input: sealedMaterial(unbase64(sealed.root, 32), sealed.orders), round: 0 };
    return [
      ["seed", hex(seed)],
      ["commitment", hex(commitment)],
    ];
  });

  await step("numbers", () => {
    if (!material) return found.voided ? { skipped: true } : WAITS;
    const { pick, of } = announced.rules;
    const drawn = drawNumbers(material.salt, material.input, entries[0].bytes, material.round, pick, of);
    found.drawn = drawn;
    const sorted = [...drawn].sort((a, b) => a - b);
    if (!found.voided)
      require(sorted.join() ===
        ended.winning_numbers.join(), "numbers", `${sorted.join(" ")} ≠ ${ended.winning_numbers.join(" ")}`);
    return [["drawn", drawn.join(", ")]];
  });

  await step("shown", async () => {
    if (!found.drawn || found.voided) return found.voided ? { skipped: true } : WAITS;
    const draw = await source.draw();
    if (!draw) return { skipped: true };
    const shown = draw.winning_numbers ?? [];
    require(shown.join() === ended.winning_numbers.join(), "shown", shown.join(" "));
    return [["shown", shown.join(", ")]];
  });

  await step("winners", () => {
    if (!ended || found.voided) return found.voided ? { skipped: true } : WAITS;
    if (!list) return { skipped: true };
    const rules = announced.rules.tiers;
    require(rules.map((tier) => tier.matches).join() === ended.tiers.map((tier) => tier.matches).join(), "tiers");
    for (const [at, tier] of ended.tiers.entries()) {
      require((list.counts.get(tier.matches) ?? 0) === tier.winners, "winners", `${tier.matches}`);
      const rule = rules[at];
      require(rule.amount === undefined || rule.amount === tier.prize, "prize", `${tier.matches}`);
      require(!rule.minimum || !tier.winners || tier.prize >= rule.minimum, "prize", `${tier.matches}`);
    }
    return ended.tiers.map((tier) => [`tier`, `${tier.matches}: ${tier.winners}`]);
  });

  if (source.receipt)
    await checkReceipt(source.receipt, {
      step,
      ticketLog: () => ticketLog,
      sealed: () => sealed,
      list: () => list,
      found,
    });
  return found;
}

const WAITS = Symbol("waits");

async function checkReceipt(receipt, { step, ticketLog, sealed, list, found }) {
  let opened;
  await step("receipt", async () => {
    opened = await openProof(receipt.proof, ticketLog());
    const order = readOrder(opened.entry);
    found.receipt = { index: opened.index, order };
    return [
      ["index", String(opened.index)],
      ["first", String(order.first)],
      ["picks", order.picks.map((pick) => pick.join(" ")).join("; ")],
      ["head", `${opened.checkpoint.size} · ${base64(opened.checkpoint.root)}`],
    ];
  });
  await step("receipt_owner", () => {
    if (!receipt.salt || !receipt.user_id) return { skipped: true };
    const owner = ownerOf(unbase64(receipt.salt, 16), receipt.user_id);
    require(owner === found.receipt.order.owner, "owner");
    return [["owner", owner]];
  });
  await step("receipt_list", () => {
    if (!sealed()) return WAITS;
    if (!list()) return { skipped: true };
    require(opened.index < list().leaves.length &&
      equal(list().leaves[opened.index], leafHash(opened.entry)), "not_in_list");
    return [
      ["index", String(opened.index)],
      ["leaf", hex(leafHash(opened.entry))],
    ];
  });
}
