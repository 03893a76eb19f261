// What inputs of the model add to a score, as bars to both sides of nothing.

const shownValue = (value) => Array.isArray(value)
  ? value.map((item) => String(item.value ?? `#${item.id}`)).slice(0, 3).join(", ") : plain(value);

function contributions(reasons, scale) {
  return make("ul", { class: "reasons", "aria-label": "What the score is made of" },
    ...reasons.map(({ input, value, contribution }) => {
      const fill = make("i", { class: contribution < 0 ? "less" : "more" });
      fill.style.transform = `scaleX(${Math.min(1, Math.abs(contribution) / scale)})`;
      return make("li", {}, make("span", { class: "input" }, input, " ", make("small", {}, shownValue(value))),
        make("span", { class: "both" }, fill),
        make("span", { class: "amount" }, `${contribution < 0 ? "−" : "+"}${number(Math.abs(contribution), 2)}`));
    }));
}

// The largest contribution of several lists, so that their bars can be compared.
const scaleOf = (lists) => Math.max(1e-9, ...lists.flat().map(({ contribution }) => Math.abs(contribution)));
