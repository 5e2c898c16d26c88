// The life of a draw as a picture.

import { h } from "../dom.js";
import { t } from "../i18n.js";
import { icon } from "./icons.js";

const ORDER = ["scheduled", "open", "closed", "settling", "completed"];

/** The way of a draw, and where it is. */
export function path(draw) {
  const at = ORDER.indexOf(draw.status);
  if (at < 0) return h("p.path.cancelled", icon("cross", 18), t(`status.${draw.status}`));
  return h(
    "ol.path",
    { "aria-label": t("path.label") },
    ORDER.map((status, index) =>
      h(
        "li",
        {
          class: index < at || draw.status === "completed" ? "done" : index === at ? "now" : "",
          "aria-current": index === at ? "step" : null,
        },
        h("span.path-dot", index < at || draw.status === "completed" ? icon("check", 14) : null),
        h("span", t(`path.${status}`)),
      ),
    ),
  );
}
