// The verification of a draw and of a receipt as a list of steps. Each step computes something here; what it says is
// what it computed. Reads nothing by itself: `source` gives what was published.

import { base64, equal, fromHex, hex, Refused, require, unbase64 } from "./bytes.js";
import { bundlePaths, entriesOf, readEntry, readOrder } from "./entries.js";
import { leafHash, Tree } from "./merkle.js";
import { canVerify, openProof, parseVkey } from "./notes.js";
import { commitmentOf, drawNumbers, ownerOf, sealedMaterial } from "./numbers.js";
import { roundRandomness, roundTime } from "./beacon.js";
import { hasQuorum, parsePolicy, witnessCount } from "./policy.js";
import { checkPolicyHash, prizesOf, readStory } from "./transcript.js";

/** Longer lists are verified only when asked for. */
export const LARGE_LIST = 200_000;
const PAUSE_AFTER = 2000;
/** The witnesses must have cosigned the seal so many seconds before the round. */
const MARGIN = 5;
/** A round is awaited so many seconds before a draw is cancelled for want of it. */
const LONGEST_WAIT = 86_400;

/** The name of a draw's ticket log, from the name of the public log. */
const ticketLogName = (publicLog, draw) => publicLog.replace(/\/log$/, `/draws/${draw}/log`);
const moment = (seconds) => new Date(seconds * 1000).toISOString().replace(".000", "");

/** A step that has nothing to check yet, since it is not published. */
const WAITS = Symbol("waits");
/** A step that a draw does not have, or that was not asked for. */
const skipped = (facts) => ({ skipped: true, facts });

/**
 * Verifies a draw. `report(step)` is called at the begin and at the end of each step: `{key, state, facts, refused}` with the
 * state 'run', 'ok', 'bad', 'wait' (not published yet) or 'skip'. Answers what was found.
 *
 * `source`: `{keys(), proof(), previous(index, size), draw(), bundle(path), receipt, large, signature}`; `receipt` is
 * `{proof, salt?, user_id?}` or null; `previous` answers the transcript of the draw whose end has this index, or null;
 * `signature` is that of a cancelled draw's round in hexadecimal, if somebody has given it: no entry has it.
 */
export async function checkDraw(id, source, report) {
  const check = new DrawCheck(id, source, report);
  await check.run();
  return check.found;
}

class DrawCheck {
  /** The entries `{bytes, index, event, note}`. */
  entries = [];
  /** The signed root of each size of the public log: two roots of one size are a fork. */
  heads = new Map();
  story = null;
  list = null;
  material = null;

  constructor(id, source, report) {
    Object.assign(this, { id, source, report });
    this.found = {
      id,
      failed: false,
      waits: false,
      mode: null,
      voided: null,
      // After the seal numbers are fixed, or somebody knows them: such a draw is never verified, whatever the reason is.
      voidedLate: false,
      // What refutes the reason for which it was cancelled.
      refuted: null,
      // The signature that was given is not that of the round.
      wrongSignature: false,
      byHand: false,
      list: null,
      // How many witnesses the operator has announced, and whether their quorum cosigned the seal in time.
      witnesses: 0,
      witnessed: false,
      // Only the operator says that the round was changed in time.
      moved: false,
      endedAt: null,
    };
  }

  async run() {
    await this.step("log", () => this.checkLog());
    await this.step("entries", () => this.checkEntries());
    await this.step("list", (progress) => this.checkList(progress));
    if (this.found.mode === "beacon") await this.step("beacon", () => this.checkBeacon());
    else await this.step("commitment", () => this.checkCommitment());
    await this.step("numbers", () => this.checkNumbers());
    if (!this.found.failed) this.found.refuted = this.refutation();
    await this.step("shown", () => this.checkShown());
    await this.step("winners", () => this.checkWinners());
    await this.step("prizes", () => this.checkPrizes());
    await this.step("jackpot", () => this.checkJackpot());
    if (!this.source.receipt) return;
    await this.step("receipt", () => this.checkReceipt());
    await this.step("receipt_owner", () => this.checkOwner());
    await this.step("receipt_list", () => this.checkReceiptInList());
  }

  /** Runs one step, unless one before it has failed. */
  async step(key, run) {
    const { found, report } = this;
    if (found.failed) return report({ key, state: "skip" });
    report({ key, state: "run" });
    try {
      const facts = await run((progress) => report({ key, state: "run", progress }));
      if (facts === WAITS) {
        found.waits = true;
        report({ key, state: "wait" });
      } else report({ key, state: facts?.skipped ? "skip" : "ok", facts: facts?.skipped ? facts.facts : facts });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      found.failed = true;
      report({ key, state: "bad", refused: error });
    }
  }

  /** The entries of a transcript, each proved to be in the public log. */
  async prove(transcript) {
    const shape = (value, keys) =>
      require(Object.keys(value ?? {})
        .sort()
        .join() === keys, "transcript");
    shape(transcript, "draw_id,entries,policy");
    require(Array.isArray(transcript.entries) && transcript.entries.length > 0, "transcript");
    const entries = [];
    for (const one of transcript.entries) {
      shape(one, "entry,proof");
      require(typeof one.entry === "string" && typeof one.proof === "string", "transcript");
      const opened = await openProof(one.proof, this.log);
      require(equal(opened.entry, unbase64(one.entry)), "other_entry");
      require(entries.length === 0 || opened.index > entries.at(-1).index, "order_of_entries");
      const { size, root } = opened.checkpoint;
      require((this.heads.get(size) ?? base64(root)) === base64(root), "fork");
      this.heads.set(size, base64(root));
      entries.push({ bytes: opened.entry, index: opened.index, note: opened.note, size });
    }
    return entries;
  }

  async checkLog() {
    require(await canVerify(), "browser");
    this.log = parseVkey((await this.source.keys()).log);
    this.transcript = await this.source.proof();
    require(this.transcript?.draw_id === this.id, "other_draw");
    this.entries = await this.prove(this.transcript);
    const [size, root] = [...this.heads].at(-1);
    return [
      ["vkey", this.log.text],
      ["head", `${size} · ${root}`],
      ["indexes", this.entries.map(({ index }) => index).join(", ")],
    ];
  }

  async checkEntries() {
    const { entries, found, transcript } = this;
    const events = entries.map(({ bytes }) => readEntry(bytes));
    for (const event of events) require(event?.draw === this.id, "other_draw");
    const story = (this.story = readStory(events));
    this.ticketLog = parseVkey(story.announced.ticket_log);
    require(this.ticketLog.name === ticketLogName(this.log.name, this.id), "origin");
    require(transcript.policy === null || typeof transcript.policy === "string", "policy");
    checkPolicyHash(story.announced, transcript.policy);
    found.mode = story.announced.fairness;
    found.voided = story.voided;
    found.voidedLate = Boolean(story.voided && story.sealed);
    found.round = story.round;
    found.chain = story.announced.beacon ? hex(unbase64(story.announced.beacon.chain)) : null;
    // Whoever runs an unknown beacon may know its rounds in advance.
    found.unknownBeacon = Boolean(story.announced.beacon) && !story.isQuicknet;
    found.byHand = Boolean(story.sealed?.by_hand || story.ended?.by_hand);
    found.endedAt = story.ended?.at ?? null;
    const policy = transcript.policy === null ? null : parsePolicy(transcript.policy);
    found.witnesses = policy ? witnessCount(policy) : 0;
    const saw = (event, before) =>
      found.witnesses > 0 && hasQuorum(entries[events.indexOf(event)].note, policy, before);
    if (story.sealed)
      found.witnessed = await saw(story.sealed, story.isQuicknet ? roundTime(story.round) - MARGIN : Infinity);
    for (const { event, close } of story.moves) found.moved ||= !(await saw(event, close));
    return [
      ...events.map((event) => [`event.${event.type}`, moment(event.at)]),
      ["witnesses", String(found.witnesses)],
    ];
  }

  async checkList(progress) {
    const { announced, sealed, ended } = this.story;
    if (!sealed) return this.absent;
    const { orders, tickets, root } = sealed;
    if (orders > LARGE_LIST && !this.source.large) return skipped([["large", String(orders)]]);
    const tree = new Tree();
    const leaves = this.source.receipt ? [] : null;
    const counts = new Map();
    const winning = new Set(ended?.winning_numbers ?? []);
    const { pick: size, of } = announced.rules;
    let next = 1;
    let paused = 0;
    for (const path of bundlePaths(orders)) {
      for (const entry of entriesOf(await this.source.bundle(path))) {
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
      if (tree.size - paused >= PAUSE_AFTER) {
        paused = tree.size;
        progress(tree.size / orders);
      }
    }
    require(tree.size === orders, "orders");
    require(next - 1 === tickets, "tickets");
    require(equal(tree.root, unbase64(root, 32)), "list_root");
    this.list = { counts, leaves };
    this.found.list = { orders, tickets };
    return [
      ["orders", String(orders)],
      ["tickets", String(tickets)],
      ["root", base64(tree.root)],
    ];
  }

  /** What a step says whose input is not there: it comes later, or never. */
  get absent() {
    return this.found.voided ? skipped() : WAITS;
  }

  async checkBeacon() {
    const { announced, ended, voided, round, isQuicknet } = this.story;
    const given = voided && this.source.signature;
    if (!given && !ended?.signature) return this.absent;
    const key = unbase64(announced.beacon.public_key, 96);
    let randomness;
    try {
      randomness = await roundRandomness(key, round, given ? fromHex(given) : unbase64(ended.signature, 48));
    } catch (error) {
      if (!given || !(error instanceof Refused)) throw error;
      // It says nothing about the draw.
      this.found.wrongSignature = true;
      return skipped();
    }
    this.material = { salt: new Uint8Array(32), input: randomness, round };
    return [
      ["chain", `${isQuicknet ? "drand quicknet " : ""}${hex(unbase64(announced.beacon.chain))}`],
      ["round", String(round)],
      ...(isQuicknet ? [["round_time", moment(roundTime(round))]] : []),
      ["randomness", hex(randomness)],
    ];
  }

  checkCommitment() {
    const { announced, ended, sealed } = this.story;
    if (!ended?.seed) return this.absent;
    const seed = unbase64(ended.seed, 32);
    const commitment = commitmentOf(seed, this.ticketLog.name);
    require(equal(commitment, unbase64(announced.commitment, 32)), "commitment");
    this.material = { salt: seed, input: sealedMaterial(unbase64(sealed.root, 32), sealed.orders), round: 0 };
    return [
      ["seed", hex(seed)],
      ["commitment", hex(commitment)],
    ];
  }

  checkNumbers() {
    const { material, story, found } = this;
    if (!material) return this.absent;
    const { pick, of } = story.announced.rules;
    found.drawn = drawNumbers(material.salt, material.input, this.entries[0].bytes, material.round, pick, of);
    const sorted = [...found.drawn].sort((a, b) => a - b);
    if (!story.voided) {
      const published = story.ended.winning_numbers;
      require(sorted.join() === published.join(), "numbers", `${sorted.join(" ")} ≠ ${published.join(" ")}`);
    }
    return [["drawn", found.drawn.join(", ")]];
  }

  /** What refutes the reason for which a draw was cancelled after its seal; null if nothing does that is known here. */
  refutation() {
    const { voided, sealed, round, isQuicknet } = this.story;
    const { found } = this;
    if (!voided || !sealed) return null;
    if (voided.reason === "list_mismatch") return this.list ? "listed" : null;
    if (found.mode !== "beacon") return null;
    const isBefore = (time) => isQuicknet && voided.at < time;
    if (voided.reason === "no_round") {
      if (found.drawn) return "signed";
      return isBefore(roundTime(round) + LONGEST_WAIT) ? "early" : null;
    }
    if (voided.reason === "no_quorum") {
      if (!found.witnesses) return "unwitnessed";
      if (isQuicknet && found.witnessed) return "cosigned";
      return isBefore(roundTime(round) - MARGIN) ? "early" : null;
    }
    return null;
  }

  async checkShown() {
    if (!this.found.drawn || this.found.voided) return this.absent;
    const draw = await this.source.draw();
    if (!draw) return skipped();
    const shown = draw.winning_numbers ?? [];
    require(shown.join() === this.story.ended.winning_numbers.join(), "shown", shown.join(" "));
    return [["shown", shown.join(", ")]];
  }

  checkWinners() {
    const { ended } = this.story;
    if (!ended || this.found.voided) return this.absent;
    if (!this.list) return skipped();
    for (const tier of ended.tiers) {
      require((this.list.counts.get(tier.matches) ?? 0) === tier.winners, "winners", `${tier.matches}`);
    }
    return ended.tiers.map((tier) => ["tier", `${tier.matches}: ${tier.winners}`]);
  }

  checkPrizes() {
    const { announced, sealed, ended } = this.story;
    if (!ended || this.found.voided) return this.absent;
    const winners = ended.tiers.map((tier) => tier.winners);
    const { fund, prizes, rollover } = prizesOf(announced.rules, sealed.tickets, ended.jackpot, winners);
    require(fund === BigInt(ended.prize_fund), "fund", String(fund));
    ended.tiers.forEach((tier, at) => require(prizes[at] === BigInt(tier.prize), "prize", `${tier.matches}`));
    require(rollover === BigInt(ended.rollover), "rollover", String(rollover));
    return [
      ["fund", String(fund)],
      ["prizes", prizes.join(", ")],
      ["rollover", String(rollover)],
    ];
  }

  /** The jackpot that came in is what the draw before rolled over. */
  async checkJackpot() {
    const { announced, ended } = this.story;
    if (!ended || this.found.voided) return this.absent;
    if (ended.after === undefined && ended.jackpot === 0) return [["jackpot", "0"]];
    const end = this.entries.at(-1);
    const transcript = await this.source.previous?.(ended.after, end.size);
    if (!transcript) {
      this.found.jackpotUnknown = true;
      return skipped();
    }
    const entries = await this.prove(transcript);
    const events = entries.map(({ bytes }) => readEntry(bytes));
    for (const event of events) require(event?.draw === transcript.draw_id, "other_draw");
    const before = readStory(events);
    require(before.ended &&
      !before.voided &&
      entries.at(-1).index === ended.after &&
      ended.after < end.index, "after");
    require(before.announced.lottery === announced.lottery, "after");
    require(before.ended.rollover === ended.jackpot, "jackpot");
    return [
      ["jackpot", String(ended.jackpot)],
      ["index", String(ended.after)],
    ];
  }

  async checkReceipt() {
    this.opened = await openProof(this.source.receipt.proof, this.ticketLog);
    const { entry, index, checkpoint } = this.opened;
    const order = readOrder(entry);
    this.found.receipt = { index, order };
    return [
      ["index", String(index)],
      ["first", String(order.first)],
      ["picks", order.picks.map((pick) => pick.join(" ")).join("; ")],
      ["head", `${checkpoint.size} · ${base64(checkpoint.root)}`],
    ];
  }

  checkOwner() {
    const { salt, user_id: user } = this.source.receipt;
    if (!salt || !user) return skipped();
    const owner = ownerOf(unbase64(salt, 16), user);
    require(owner === this.found.receipt.order.owner, "owner");
    return [["owner", owner]];
  }

  checkReceiptInList() {
    if (!this.story.sealed) return this.absent;
    if (!this.list) return skipped();
    const { leaves } = this.list;
    const { entry, index, checkpoint } = this.opened;
    const leaf = leafHash(entry);
    require(index < leaves.length && equal(leaves[index], leaf), "not_in_list");
    // The list that was signed with the receipt must be the beginning of the sealed one.
    require(checkpoint.size <= leaves.length, "not_in_list");
    const tree = new Tree();
    for (const one of leaves.slice(0, checkpoint.size)) tree.add(one);
    require(equal(tree.root, checkpoint.root), "forked_list");
    return [
      ["index", String(index)],
      ["leaf", hex(leaf)],
    ];
  }
}
