"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Sorting: each block of a table for itself, so that floors stay floors.
  const sort = (header) => {
    const first = header.dataset.first;
    const other = first === "ascending" ? "descending" : "ascending";
    const way = header.getAttribute("aria-sort") === first ? other : first;
    const column = header.cellIndex;
    for (const each of header.parentElement.cells) each.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const text = header.classList.contains("text");
    const value = (row) => row.cells[column].dataset.v;
    for (const block of header.closest("table").tBodies) {
      const rows = [...block.rows];
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        // What is not there stays last, whichever way.
        if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
        return sign * (text ? x.localeCompare(y, "en") : Number(x) - Number(y));
      });
      block.append(...rows);
    }
  };
  for (const header of all("thead th[tabindex]")) {
    header.addEventListener("click", () => sort(header));
    header.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      sort(header);
    });
  }

  // Filter: rows that have every word; boards without such a row go.
  const filter = document.getElementById("filter");
  const count = document.getElementById("count");
  const searched = all("tr[data-search]").map((row) => [row, row.dataset.search.toLowerCase()]);
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0, ranked = 0;
    for (const [row, text] of searched) {
      row.hidden = !words.every((word) => text.includes(word));
      if (row.dataset.drawer) { ranked += 1; shown += row.hidden ? 0 : 1; }
    }
    const some = (part) => part.querySelector("tr[data-search]:not([hidden])") !== null;
    for (const part of all(".board, .task, .source")) part.hidden = words.length > 0 && !some(part);
    for (const link of all("nav a[href^='#board-'], nav a[href^='#task-']")) {
      const part = document.getElementById(link.hash.slice(1));
      link.parentElement.hidden = part !== null && part.hidden;
    }
    count.textContent = words.length ? `${shown} of ${ranked} rows` : "";
  };
  filter.addEventListener("input", apply);
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      filter.focus();
    }
    if (event.key === "Escape" && event.target === filter) { filter.value = ""; apply(); }
  });
  if (filter.value) apply();

  // Drawer: how a row came about.
  const drawer = document.getElementById("drawer");
  const inside = document.getElementById("inside");
  for (const row of all("tr[data-drawer]")) {
    row.addEventListener("click", () => {
      if (String(window.getSelection())) return;
      const held = document.getElementById(row.dataset.drawer);
      inside.replaceChildren(held.content.cloneNode(true));
      drawer.showModal();
      drawer.scrollTop = 0;
    });
  }
  drawer.addEventListener("click", (event) => { if (event.target === drawer) drawer.close(); });

  // Theme: as the system has it, or as chosen here.
  const theme = document.getElementById("theme");
  const themes = ["auto", "light", "dark"];
  const show = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
    theme.setAttribute("aria-label", `Colour theme: ${name === "auto" ? "as the system" : name}`);
  };
  let chosen = "auto";
  // A page opened from a file may not be allowed to remember anything.
  try { chosen = localStorage.getItem("vlpzoo-theme") ?? "auto"; } catch { /* as the system */ }
  show(themes.includes(chosen) ? chosen : "auto");
  theme.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    const next = themes[(themes.indexOf(now) + 1) % themes.length];
    show(next);
    try { localStorage.setItem("vlpzoo-theme", next); } catch { /* for this visit only */ }
  });

  // Paper shows what is folded on the screen.
  addEventListener("beforeprint", () => {
    for (const part of all("details:not(.source)")) part.open = true;
  });
})();
