// A plot over time by uPlot, with a text for those who do not see it.

import uPlot from "../../vendor/uplot/uplot.js";
import { h } from "../dom.js";
import { t, number, language } from "../i18n.js";

const HEIGHT = 220;

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** `names`: of the lines; the first is drawn in the accent's colour with a filled area. `show(data)` draws it. */
export function plot(title, { signal, unit, names = [title] }) {
  const place = h("div.plot-place");
  const last = h("span.plot-last", { "aria-live": "off" });
  const node = h("figure.card.plot", h("figcaption.head-line", h("h2", title), last), place);
  let chart = null;
  let data = null;
  const make = () => {
    chart?.destroy();
    const [accent, second, ink, line] = ["--accent", "--gold", "--ink-2", "--line"].map(token);
    const axis = {
      stroke: ink,
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
      font: `12px ${token("--font")}`,
    };
    chart = new uPlot(
      {
        width: place.clientWidth || 300,
        height: HEIGHT,
        legend: { show: false },
        padding: [8, 24, 0, 0],
        cursor: { y: false },
        scales: { y: { range: (u, min, max) => [0, Math.max(1, max * 1.15)] } },
        axes: [
          {
            ...axis,
            values: (u, ticks) =>
              // Between two minutes there is nothing to say that the label before has not said.
              ticks.map((tick) =>
                tick % 60
                  ? ""
                  : new Intl.DateTimeFormat(language, { hour: "numeric", minute: "2-digit" }).format(tick * 1000),
              ),
            space: 90,
            size: 28,
          },
          { ...axis, size: 44, values: (u, ticks) => ticks.map((tick) => number(tick, { notation: "compact" })) },
        ],
        series: [
          {},
          ...names.map((label, index) => ({
            label,
            stroke: index ? second : accent,
            width: 2,
            fill: index ? undefined : `color-mix(in srgb, ${accent} 14%, transparent)`,
            points: { show: false },
            spanGaps: true,
          })),
        ],
      },
      data,
      place,
    );
  };
  const resize = new ResizeObserver(() => chart?.setSize({ width: place.clientWidth, height: HEIGHT }));
  resize.observe(place);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => data && make(), { signal });
  signal.addEventListener("abort", () => {
    resize.disconnect();
    chart?.destroy();
  });
  return {
    node,
    /** `now`: the values to write beside the title; the newest of the data if it is left out. */
    show(next, now = next.slice(1).map((line) => line.at(-1))) {
      data = next;
      if (chart) chart.setData(data);
      else make();
      last.textContent = names
        .map((name, index) => {
          const value = now[index];
          const text =
            value === null || value === undefined ? "—" : `${number(value, { maximumFractionDigits: 1 })} ${unit}`;
          return names.length > 1 ? `${name} ${text}` : text;
        })
        .join(" · ");
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", t("plot.label", { title, last: last.textContent }));
    },
  };
}
