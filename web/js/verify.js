// The page that verifies: it takes a draw of the address, or a file that is dropped on it, and shows each step.

import { h, replace, rich, announce } from "./dom.js";
import { t, has, loadTexts, lotteryName, dayTime, number } from "./i18n.js";
import { Problem } from "./api.js";
import { allLotteries, drawList, drawOf, drawTime, reasonText } from "./draws.js";
import { logo, icon } from "./components/icons.js";
import {
  addConnectionBar,
  fillFooter,
  languageSwitch,
  navigation,
  phoneItems,
  skipLink,
} from "./components/shell.js";
import { balls, emptyBalls } from "./components/balls.js";
import { field, form } from "./components/forms.js";
import { takeReceipt } from "./handover.js";
import { drawOfReceipt } from "./verify/notes.js";
import { Refused } from "./verify/bytes.js";

const STEPS = ["log", "entries", "list", "fairness", "numbers", "shown", "winners", "prizes", "jackpot"];
const RECEIPT_STEPS = ["receipt", "receipt_owner", "receipt_list"];
const ICONS = { ok: "check", bad: "cross", wait: "clock", skip: "minus", run: "more" };
const MOST_FILE_BYTES = 2_000_000;

const main = document.getElementById("main");
/** What is being verified: `{id, receipt, transcript, large, signature}`; it is verified anew when the language changes. */
let wanted = null;
let turn = 0;

function drawShell() {
  skipLink();
  const items = [
    ["play", "/#/", "play", t("nav.play")],
    ["tickets", "/#/tickets", "tickets", t("nav.tickets")],
    ["results", "/#/results", "results", t("nav.results")],
    ["verify", "/verify", "verify", t("nav.verify")],
  ];
  const top = navigation(t("nav.label"), items, "top-nav");
  const bottom = navigation(
    t("nav.label.short"),
    phoneItems([...items, ["account", "/#/account", "user", t("nav.account")]]),
    "bottom-nav",
  );
  for (const nav of [top, bottom]) nav.mark("verify");
  replace(
    document.getElementById("header"),
    h("a.brand", { href: "/#/", "aria-label": t("brand") }, logo(), h("span", t("brand"))),
    top,
    h(
      "div.header-end",
      languageSwitch(() => (drawShell(), show())),
    ),
  );
  replace(document.getElementById("bottom"), bottom);
  fillFooter(document.getElementById("footer"));
}

function show() {
  document.title = `${t("verify.title")} · ${t("brand")}`;
  const result = h("div.verify-result");
  replace(
    main,
    h(
      "div.verify-page",
      h("header.verify-head", h("h1", t("verify.title")), h("p.lead", t("verify.lead"))),
      result,
      h("div.verify-inputs", chooser(), dropArea()),
    ),
  );
  if (wanted) run(result);
}

/** A draw by its number, from those that are over. */
function chooser() {
  const list = h("ul.verify-draws", h("li.blank"));
  Promise.all([drawList("status=completed&limit=6"), allLotteries()])
    .then(([items]) =>
      replace(
        list,
        items.length
          ? items.map((draw) =>
              h(
                "li",
                h(
                  "a.row-link",
                  { href: `/verify/${draw.id}` },
                  h("span", lotteryName(draw.lottery), h("span.muted", ` ${t("no", { n: draw.number })}`)),
                  balls(draw.winning_numbers ?? [], { size: "small", drawn: true }),
                  icon("arrow", 20),
                ),
              ),
            )
          : h("li.muted", t("results.none")),
      ),
    )
    .catch((problem) => replace(list, h("li.muted", problem.text ?? "")));
  return h("section.card", h("h2", t("verify.choose")), list);
}

function dropArea() {
  const input = h("input.sr", {
    type: "file",
    id: "receipt-file",
    accept: ".json,.txt,.tlog-proof,application/json,text/plain",
    onchange: () => input.files[0] && take(input.files[0]),
  });
  const problem = h("p.problem", { role: "alert", hidden: true });
  const area = h(
    "section.card.drop",
    { id: "drop" },
    icon("file", 40),
    h("h2", t("verify.drop")),
    h("p.muted", t("verify.drop.text")),
    input,
    h("label.button", { for: "receipt-file" }, t("verify.drop.choose")),
    problem,
  );
  const take = async (file) => {
    problem.hidden = true;
    try {
      if (file.size > MOST_FILE_BYTES) throw new Refused("file");
      wanted = readFile(await file.text());
      history.replaceState(null, "", `/verify/${wanted.id}`);
      show();
      scrollTo(0, 0);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      problem.textContent = t("verify.drop.bad");
      problem.hidden = false;
    }
  };
  area.addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  area.addEventListener("dragleave", () => area.classList.remove("over"));
  area.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  return area;
}

/** A receipt (a bare tlog-proof, or JSON with one), or the transcript of a draw. */
function readFile(text) {
  if (text.startsWith("c2sp.org/tlog-proof@")) return { id: drawOfReceipt(text), receipt: { proof: text } };
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refused("file");
  }
  if (Array.isArray(value?.entries) && Number.isSafeInteger(value.draw_id))
    return { id: value.draw_id, transcript: value };
  const receipt = value?.receipt ?? value;
  if (typeof receipt?.proof !== "string") throw new Refused("file");
  return { id: drawOfReceipt(receipt.proof), receipt };
}

/** The receipt of this draw that another page of this tab has handed over. It is taken once. */
function handedReceipt(draw) {
  try {
    const { id, receipt } = readFile(takeReceipt() ?? "");
    return id === draw ? receipt : null;
  } catch {
    return null;
  }
}

/** Verifies in a worker. `report` is called for each step; the answer is what was found. */
let worker = null;
function check(what, report) {
  worker?.terminate();
  worker = new Worker(new URL("./verify/worker.js", import.meta.url), { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => {
      if (data.step) report(data.step);
      else if (data.found) resolve(data.found);
      else reject(new Problem(data.problem.code, data.problem));
    };
    worker.onerror = (event) => reject(new Problem("internal_error", { detail: event.message }));
    worker.postMessage(what);
  });
}

async function run(place) {
  const own = ++turn;
  const { id, receipt } = wanted;
  const name = h("span", t("verify.draw", { id: String(id) }));
  const when = h("span.muted.small.block", " ");
  const title = h("h2", name, when);
  const verdict = h(
    "section.verdict",
    { role: "status", class: "run" },
    h("span.verdict-mark", icon("more", 32)),
    h("div", h("h3", t("verify.running")), h("p", t("verify.running.text"))),
  );
  const list = h("ol.verify-steps");
  const rows = new Map();
  for (const key of [...STEPS, ...(receipt ? RECEIPT_STEPS : [])]) {
    const row = h("li.verify-step");
    rows.set(key, row);
    list.append(row);
    showStep(row, { key: key === "fairness" ? "commitment" : key, state: "skip", idle: true });
  }
  const numbers = h("div.verify-numbers", emptyBalls(5, { size: "big" }));
  const limits = h("div.verify-limits");
  replace(place, h("section.card.verify-card-main", title, numbers, verdict, list, limits));
  Promise.all([drawOf(id), allLotteries()])
    .then(([draw, lotteries]) => {
      if (own !== turn) return;
      name.textContent = `${lotteryName(draw.lottery)}, ${t("draw.number", { n: draw.number })}`;
      if (when.textContent === " ") when.textContent = drawTime(draw);
      const { pick = 5 } = lotteries.find((one) => one.id === draw.lottery) ?? {};
      if (draw.winning_numbers) replace(numbers, balls(draw.winning_numbers, { size: "big", drawn: true }));
      else if (numbers.querySelector(".empty")) replace(numbers, emptyBalls(pick, { size: "big" }));
    })
    .catch(() => null);
  const report = (step) => {
    if (own !== turn) return;
    showStep(rows.get(["commitment", "beacon"].includes(step.key) ? "fairness" : step.key), step);
  };
  try {
    const found = await check(wanted, report);
    if (own !== turn) return;
    showVerdict(verdict, limits, found);
    if (found.failed) return;
    if (found.endedAt) {
      const at = dayTime(found.endedAt * 1000);
      when.textContent = t(found.voided ? "verify.voided_at" : "result.drawn", { at });
    }
    if (found.voided && found.drawn)
      replace(
        numbers,
        balls(
          [...found.drawn].sort((a, b) => a - b),
          { size: "big" },
        ),
      );
    numbers.hidden = Boolean(found.voided) && !found.drawn;
  } catch (error) {
    if (own !== turn) return;
    if (!(error instanceof Problem)) console.warn(error);
    for (const row of rows.values())
      if (row.dataset.state === "run") showStep(row, { key: row.dataset.key, state: "skip" });
    setVerdict(
      verdict,
      "wait",
      t("verify.unread"),
      [error.text ?? t("error.internal_error")],
      h("button.button", { type: "button", onclick: () => run(place) }, t("retry")),
    );
  }
}

function showStep(row, { key, state, facts, refused, progress, idle }) {
  row.dataset.state = idle ? "idle" : state;
  row.dataset.key = key;
  const detail =
    state === "bad"
      ? t(`refused.${refused.code}`)
      : state === "wait"
        ? t("verify.waits")
        : state === "skip" && !idle
          ? facts
            ? t("verify.large")
            : t("verify.skipped")
          : t(`step.${key}.text`);
  replace(
    row,
    h("span.step-mark", icon(idle ? "more" : ICONS[state], 20)),
    h(
      "div.step-text",
      h("h3", t(`step.${key}`), h("span.sr", ` — ${t(`state.${idle ? "idle" : state}`)}`)),
      h("p", detail, progress ? ` ${number(progress, { style: "percent" })}` : ""),
      refused?.detail ? h("code.fact-value", refused.detail) : null,
      state === "ok" && facts?.length
        ? h(
            "details",
            h("summary", t("verify.computed")),
            h(
              "dl.facts",
              facts.map(([name, value]) => [
                h("dt", has(`fact.${name}`) ? t(`fact.${name}`) : name),
                h("dd", h("code.fact-value", value)),
              ]),
            ),
          )
        : null,
    ),
  );
}

/** The sentence of what was proved: green only if every step that the draw has was computed here and holds. */
function showVerdict(node, limits, found) {
  if (found.failed) return setVerdict(node, "bad", t("verdict.bad"), [t("verdict.bad.text")]);
  replace(limits, h("p", witnessText(found)));
  const facts = [];
  if (found.receipt)
    facts.push(
      t(found.list ? "verdict.receipt.listed" : "verdict.receipt", { n: found.receipt.order.picks.length }),
    );
  if (found.voided) {
    const { voidedLate: isLate, drawn, refuted } = found;
    const texts = [
      t("verdict.voided.text", { reason: reasonText(found.voided.reason) }),
      refuted ? t(`verdict.refuted.${refuted}`) : null,
      drawn
        ? t("verdict.voided.numbers", { list: [...drawn].sort((a, b) => a - b).join(", ") })
        : t(isLate ? "verdict.voided.round" : "verdict.voided.none", { round: String(found.round) }),
      drawn && found.mode === "commit_reveal" ? t("verdict.voided.knew") : null,
      ...facts,
    ];
    const more = isLate && !drawn ? signatureForm(found) : null;
    return setVerdict(
      node,
      isLate ? "bad" : "wait",
      t(isLate ? "verdict.voided.late" : "verdict.voided"),
      texts,
      more,
    );
  }
  if (found.waits) return setVerdict(node, "wait", t("verdict.waits"), [...facts, t("verdict.waits.text")]);
  if (!found.list)
    return setVerdict(
      node,
      "wait",
      t("verdict.partial"),
      [...facts, t("verdict.partial.text")],
      h(
        "button.button",
        {
          type: "button",
          onclick: () => {
            wanted.large = true;
            show();
          },
        },
        t("verdict.partial.go"),
      ),
    );
  if (found.unknownBeacon) {
    return setVerdict(node, "wait", t("verdict.unknown_beacon"), [...facts, t("verdict.unknown_beacon.text")]);
  }
  if (found.jackpotUnknown) {
    return setVerdict(node, "wait", t("verdict.jackpot"), [...facts, t("verdict.jackpot.text")]);
  }
  setVerdict(node, "ok", t("verdict.ok"), [...facts, t(`proves.${found.mode}`)]);
  const isWordOfOperator = found.mode === "commit_reveal" || !found.witnessed;
  replace(
    limits,
    h("h3", t("verdict.limits")),
    [
      isWordOfOperator ? t(`proves_not.${found.mode}`) : null,
      found.byHand ? t("verdict.by_hand") : null,
      found.moved ? t("verdict.moved") : null,
      witnessText(found),
      t("verdict.same_host"),
    ]
      .filter(Boolean)
      .map((text) => h("p", text)),
  );
}

/** Asks for the signature of a cancelled draw's round, from which its numbers follow. No page may ask the beacon itself. */
function signatureForm({ round, chain, unknownBeacon, wrongSignature }) {
  const signature = field(t("verify.signature", { round: String(round) }), {
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
  });
  const address = `${unknownBeacon ? "" : "https://api.drand.sh"}/${chain}/public/${round}`;
  const ask = form(
    [h("p.small", t("verify.signature.text")), h("p", h("code.fact-value", address)), signature],
    t("verify.signature.go"),
    async () => {
      // The beacon's whole answer may be pasted, too.
      const [found] = /\b[0-9a-f]{96}\b/i.exec(signature.input.value) ?? [];
      if (!found) return (signature.error(t("verify.signature.bad")), signature.input.focus());
      wanted.signature = found;
      show();
    },
  );
  if (wrongSignature) signature.error(t("verify.signature.wrong"));
  return ask;
}

/** Who else has seen the sealed list in this log. */
function witnessText({ witnesses, witnessed }) {
  if (!witnesses) return t("verdict.witnesses.none");
  return t(witnessed ? "verdict.witnesses.saw" : "verdict.witnesses.silent", { n: witnesses });
}

function setVerdict(node, state, title, texts, more = null) {
  node.className = `verdict ${state}`;
  replace(
    node,
    h("span.verdict-mark", icon(ICONS[state], 32)),
    h(
      "div",
      h("h3", title),
      texts.filter(Boolean).map((text) => h("p", rich(text))),
      more,
    ),
  );
  announce(title);
}

async function start() {
  await loadTexts();
  addConnectionBar();
  const match = /^\/verify\/([1-9][0-9]*)$/.exec(location.pathname);
  if (match) wanted = { id: Number(match[1]), receipt: handedReceipt(Number(match[1])) };
  drawShell();
  show();
}

start();
