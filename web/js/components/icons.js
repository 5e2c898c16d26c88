// The icons of the pages: strokes on a grid of 24, in the colour of the text around them.

const PATHS = {
  play: "M4 7.5A2.5 2.5 0 0 1 6.5 5h11A2.5 2.5 0 0 1 20 7.5v1.8a2.7 2.7 0 0 0 0 5.4v1.8a2.5 2.5 0 0 1-2.5 2.5h-11A2.5 2.5 0 0 1 4 16.5v-1.8a2.7 2.7 0 0 0 0-5.4zM14.5 5v2.5m0 3v3m0 3V19",
  tickets: "M6 3.5h12v17l-3-2-3 2-3-2-3 2zM9.5 8.5h5m-5 4h5",
  results: "M7 4h10v5a5 5 0 0 1-10 0zM7 6H4c0 3 1 4.5 3.3 4.9M17 6h3c0 3-1 4.5-3.3 4.9M12 14v3m-4 3h8m-6.5-3h5",
  verify: "M12 3.2 5 6v5.5c0 4.3 2.9 7.5 7 9.3 4.1-1.8 7-5 7-9.3V6zM9 12l2.2 2.2L15.2 10",
  wallet:
    "M4.5 7.5V17A2.5 2.5 0 0 0 7 19.5h10.5a2 2 0 0 0 2-2v-8a2 2 0 0 0-2-2zM4.5 7.5A2.5 2.5 0 0 1 7 5h9v2.5M16 13.5h.01",
  user: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zm-7.5 8c.8-3.6 3.8-5.5 7.5-5.5s6.7 1.9 7.5 5.5",
  plus: "M12 5v14M5 12h14",
  minus: "M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  cross: "M7 7l10 10M17 7 7 17",
  download: "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 19.5h14",
  dice: "M6.5 4h11A2.5 2.5 0 0 1 20 6.5v11a2.5 2.5 0 0 1-2.5 2.5h-11A2.5 2.5 0 0 1 4 17.5v-11A2.5 2.5 0 0 1 6.5 4zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  arrow: "M5 12h14m-5.5-5.5L19 12l-5.5 5.5",
  back: "M19 12H5m5.5-5.5L5 12l5.5 5.5",
  clock: "M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16zm0-12.5V12l3 2",
  card: "M5.5 5.5h13a2 2 0 0 1 2 2v9a2 2 0 0 1-2 2h-13a2 2 0 0 1-2-2v-9a2 2 0 0 1 2-2zM3.5 10h17M7 15h3",
  trash: "M5 7h14M10 7V4.5h4V7m-7.5 0 .8 12.5h9.4L17.5 7",
  chart: "M4.5 19.5h15M7 16v-5m5 5V5.5m5 10.5V9",
  users:
    "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.8 19.5c.6-3.2 3-5 6.2-5s5.6 1.8 6.2 5M15.5 4.8a3.5 3.5 0 0 1 0 6.4m2.2 3.7c1.9.7 3.1 2.3 3.5 4.6",
  log: "M6 3.5h8.5L19 8v12.5H6zM14 3.5V8.5h5M9 12.5h7M9 16.5h7",
  export: "M12 15V4m-4.5 4.5L12 4l4.5 4.5M5 15v4.5h14V15",
  bank: "M4 9.5 12 4l8 5.5zM6 12.5v4m4-4v4m4-4v4m4-4v4M4 19.5h16",
  globe: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM3.5 12h17M12 3.5c-5 5.5-5 11.5 0 17 5-5.5 5-11.5 0-17z",
  file: "M7 3.5h7L18.5 8v12.5H7zM13.5 3.5V8.5h5",
  more: "M6 12h.01M12 12h.01M18 12h.01",
};

const SVG = "http://www.w3.org/2000/svg";

export function icon(name, size = 24) {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 24 24",
    width: size,
    height: size,
    class: `icon icon-${name}`,
    "aria-hidden": "true",
    focusable: "false",
  })) {
    svg.setAttribute(key, value);
  }
  line.setAttribute("d", PATHS[name]);
  svg.append(line);
  return svg;
}

export function logo(size = 32) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({
    viewBox: "0 0 32 32",
    width: size,
    height: size,
    class: "logo",
    "aria-hidden": "true",
  })) {
    svg.setAttribute(key, value);
  }
  for (const [kind, cx, cy, r] of [
    ["a", 12, 12.5, 6.5],
    ["b", 21.5, 21.5, 5],
    ["c", 10.5, 23.5, 2.5],
  ]) {
    const circle = document.createElementNS(SVG, "circle");
    for (const [key, value] of Object.entries({ cx, cy, r, class: `logo-${kind}` }))
      circle.setAttribute(key, value);
    svg.append(circle);
  }
  return svg;
}
