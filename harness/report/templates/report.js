"use strict";
// Theme, charts, and the sorting and filtering of tables. Runs from the page's head; the rest waits for the page.
(() => {
  // Widths of a chart in px: below the first, names stand above their rows; below the second, fewer names fit.
  const NARROW = 600;
  const MEDIUM = 830;
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { chosen = localStorage.getItem("harness-theme"); } catch { /* a file may have no storage: the system decides */ }

  const themeNow = () => (chosen === "light" || chosen === "dark" ? chosen : dark.matches ? "dark" : "light");
  root.dataset.theme = themeNow();

  function setTheme(theme) {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to the ${theme === "dark" ? "light" : "dark"} theme`);
    charts.forEach(draw);
  }

  // -- charts ----------------------------------------------------------------------------------------------------

  const charts = [];
  let config = {};

  // Replaces var(--name) in every color by the theme's value, since plotly draws outside of CSS.
  function themed(value, key, style) {
    if (Array.isArray(value)) return value.map((item) => themed(item, key, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, themed(item, name, style)]));
    }
    const variable = typeof value === "string" && key.endsWith("color") && /^var\((--[\w-]+)\)$/.exec(value);
    return variable ? style.getPropertyValue(variable[1]).trim() : value;
  }

  function merged(base, over) {
    const result = { ...base };
    for (const [key, value] of Object.entries(over)) {
      const nested = value && typeof value === "object" && !Array.isArray(value);
      result[key] = nested ? merged(base[key] ?? {}, value) : value;
    }
    return result;
  }

  function sizes(plot) {
    const width = plot.clientWidth;
    return width < NARROW ? ["medium", "narrow"] : width < MEDIUM ? ["medium"] : [];
  }

  function draw(chart) {
    if (!chart.drawn) return;
    const style = getComputedStyle(root);
    const over = sizes(chart.plot).map((size) => chart.figure.layout.meta?.[size] ?? {});
    const figure = themed({ data: chart.figure.data, layout: over.reduce(merged, chart.figure.layout) }, "", style);
    figure.data.forEach((trace, index) => { trace.visible = !chart.hidden.has(index); });
    chart.plot.style.minHeight = `${figure.layout.height}px`;
    return Plotly.react(chart.plot, figure.data, figure.layout, config);
  }

  function onWidth(chart) {
    let before = sizes(chart.plot).length;
    new ResizeObserver(() => {
      const now = sizes(chart.plot).length;
      if (now !== before) draw(chart);
      before = now;
    }).observe(chart.plot);
  }

  // One chart a frame, so that the page can be scrolled meanwhile.
  async function drawAll() {
    for (const chart of charts) {
      await new Promise((next) => setTimeout(next));
      chart.drawn = true;
      await draw(chart);
      onWidth(chart);
    }
    root.dataset.charts = "drawn";
  }

  function toggles() {
    for (const button of document.querySelectorAll(".legend button")) {
      const chart = charts.find((one) => one.plot.id === button.dataset.chart);
      const trace = Number(button.dataset.trace);
      button.addEventListener("click", () => {
        const shown = chart.hidden.delete(trace);
        if (!shown) chart.hidden.add(trace);
        button.setAttribute("aria-pressed", String(shown));
        draw(chart);
      });
    }
  }

  // -- tables ----------------------------------------------------------------------------------------------------

  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null); // what is missing stands last either way
    if (typeof a === "string") return sign * a.localeCompare(b, undefined, { numeric: true });
    return sign * (a - b);
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const keys = new Map([...body.rows].map((row) => [row, JSON.parse(row.dataset.keys)]));
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const first = head.classList.contains("number") ? "descending" : "ascending";
        const other = first === "descending" ? "ascending" : "descending";
        const order = head.getAttribute("aria-sort") === first ? other : first;
        for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        body.append(...[...body.rows].sort((a, b) => compare(keys.get(a)[column], keys.get(b)[column], sign)));
      });
    });
  }

  function filterable(input) {
    const rows = [...document.getElementById(input.dataset.table).tBodies[0].rows];
    const count = document.getElementById(`${input.dataset.table}-count`);
    const all = `${rows.length} trial${rows.length === 1 ? "" : "s"}`;
    const apply = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
      const shown = rows.filter((row) => !row.hidden).length;
      count.textContent = shown === rows.length ? all : `${shown} of ${all}`;
    };
    input.closest("label").hidden = false;
    input.addEventListener("input", apply);
    apply();
  }

  document.addEventListener("DOMContentLoaded", () => {
    config = JSON.parse(document.getElementById("chart-config").textContent);
    for (const plot of document.querySelectorAll(".plot")) {
      const figure = JSON.parse(document.getElementById(`${plot.id}-figure`).textContent);
      charts.push({ plot, figure, hidden: new Set(), drawn: false });
    }
    document.querySelectorAll("table[id]").forEach(sortable);
    document.querySelectorAll("input[data-table]").forEach(filterable);
    toggles();
    for (const scroll of document.querySelectorAll(".scroll")) {
      scroll.addEventListener("scroll", () => scroll.classList.toggle("moved", scroll.scrollLeft > 0), { passive: true });
    }

    const button = document.getElementById("theme");
    button.hidden = false;
    button.addEventListener("click", () => {
      chosen = themeNow() === "dark" ? "light" : "dark";
      try { localStorage.setItem("harness-theme", chosen); } catch { /* see above: it lasts as long as the page */ }
      setTheme(chosen);
    });
    dark.addEventListener("change", () => setTheme(themeNow()));
    window.addEventListener("beforeprint", () => setTheme("light"));
    window.addEventListener("afterprint", () => setTheme(themeNow()));
    setTheme(themeNow());
    drawAll();
  });
})();
