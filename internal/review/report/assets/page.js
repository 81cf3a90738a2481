"use strict";
(function () {
  const form = document.querySelector(".filter"), q = document.getElementById("q");
  const action = document.getElementById("action"), risk = document.getElementById("risk");
  const matches = document.getElementById("matches"), toggle = document.getElementById("toggle");
  const nothing = document.getElementById("nothing");
  const boxes = Array.from(document.querySelectorAll("[data-box]")).reverse(); // inner ones first
  const sections = Array.from(document.querySelectorAll("[data-section]"));
  const items = Array.from(document.querySelectorAll("[data-item]"), function (node) {
    return { node: node, action: node.dataset.action, risk: node.dataset.risk, text: "" };
  });
  const opened = new Map();

  // What an object belongs to is searched with it.
  function textOf(item) {
    if (!item.text) {
      const above = [];
      for (let p = item.node.parentElement; p; p = p.parentElement) {
        if (p.dataset.box !== undefined && p.firstElementChild) above.push(p.firstElementChild.textContent);
      }
      item.text = (above.join(" ") + " " + item.node.textContent).toLowerCase();
    }
    return item.text;
  }

  function filter() {
    const words = q.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = words.length > 0 || action.value !== "" || risk.value !== "";
    let shown = 0;
    for (const item of items) {
      const ok = (!action.value || item.action === action.value) && (!risk.value || item.risk === risk.value) &&
        (!words.length || words.every(function (w) { return textOf(item).includes(w); }));
      item.node.hidden = !ok;
      if (ok) shown++;
    }
    for (const box of boxes) {
      const any = box.querySelector("[data-item]:not([hidden])") !== null;
      box.hidden = active && !any;
      if (box.tagName !== "DETAILS") continue;
      if (active && any && shown <= 200) {
        if (!opened.has(box)) opened.set(box, box.open);
        box.open = true;
      } else if (!active && opened.has(box)) {
        box.open = opened.get(box);
        opened.delete(box);
      }
    }
    for (const s of sections) s.hidden = active && s.querySelector("[data-item]:not([hidden])") === null;
    matches.textContent = active ? shown + " of " + items.length : "";
    nothing.hidden = !active || shown > 0;
  }

  let waiting = 0;
  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(function () {
      filter();
      const p = new URLSearchParams();
      for (const [k, e] of [["q", q], ["action", action], ["risk", risk]]) if (e.value) p.set(k, e.value);
      try {
        history.replaceState(null, "", p.size ? "#" + p : location.href.split("#")[0]);
      } catch (e) { /* some browsers forbid it to files; only the address is for sharing */ }
    }, 120);
  }

  function read() {
    const p = new URLSearchParams(location.hash.slice(1));
    q.value = p.get("q") || "";
    action.value = p.get("action") || "";
    risk.value = p.get("risk") || "";
    filter();
  }

  form.hidden = false;
  form.addEventListener("submit", function (e) { e.preventDefault(); });
  form.addEventListener("input", soon);
  toggle.addEventListener("click", function () {
    const open = toggle.textContent === "Expand all";
    for (const d of document.querySelectorAll("details[data-box], details.object")) d.open = open;
    toggle.textContent = open ? "Collapse all" : "Expand all";
  });
  document.addEventListener("keydown", function (e) {
    if (e.key === "/" && document.activeElement !== q) { e.preventDefault(); q.focus(); }
    if (e.key === "Escape" && document.activeElement === q) { q.value = ""; soon(); }
  });
  addEventListener("hashchange", read);
  if (location.hash) read();
})();
