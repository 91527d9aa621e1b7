/* Draws the charts and brings the tables to life. Everything it needs lies beside it: pages open
   from file:// without a network. Values from data only ever become text, never markup. */
(() => {
  "use strict";

  const vendor = new URL("vendor/", document.currentScript.src).href;
  const root = document.documentElement;

  // ---- Charts -----------------------------------------------------------------------------------

  const NARROW = 520; // pixels; below, axes and legends give room to the marks
  const REDRAW_DELAY = 150; // milliseconds of rest before a resized chart is drawn again

  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = vendor + name;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`cannot load ${script.src}`));
      document.head.append(script);
    });

  const merge = (base, extra) => {
    const merged = { ...base };
    for (const [key, value] of Object.entries(extra)) {
      const both = [merged[key], value].every((v) => v && typeof v === "object" && !Array.isArray(v));
      merged[key] = both ? merge(merged[key], value) : value;
    }
    return merged;
  };

  const narrow = (width, spec) => ({
    axis: { labelLimit: Math.round(width / 3), titleFontSize: 11, labelFontSize: 11 },
    ...(spec.width === "container" && {
      axisXDiscrete: { labelAngle: -40, labelAlign: "right", labelBaseline: "top" },
    }),
    legend: { columns: 2, labelLimit: Math.round(width / 2.6) },
  });

  async function draw(figure) {
    const holder = figure.querySelector(".ds-view");
    const width = holder.clientWidth;
    const dark = root.dataset.theme === "dark";
    figure.drawn = { width, dark };
    if (!width) return; // inside something folded: the observer calls again when it opens
    const { spec, dark: darkConfig } = JSON.parse(figure.querySelector(".ds-spec").textContent);
    if (dark) spec.config = merge(spec.config, darkConfig);
    if (width < NARROW) spec.config = merge(spec.config, narrow(width, spec));
    const target = document.createElement("div");
    const before = holder.querySelector(".vega-embed");
    if (before) holder.style.minHeight = `${holder.clientHeight}px`; // no jump while it is redrawn
    before?.remove();
    figure.view?.finalize();
    holder.append(target);
    try {
      const result = await window.vegaEmbed(target, spec, {
        mode: "vega-lite",
        renderer: "svg",
        actions: false,
        tooltip: { theme: dark ? "dark" : "light" },
      });
      figure.view = result;
      holder.querySelector(".ds-static")?.remove();
    } catch (error) {
      figure.classList.add("ds-failed");
      console.error(error);
    }
    holder.style.minHeight = "";
  }

  async function charts() {
    const figures = [...document.querySelectorAll(".ds-chart")];
    if (!figures.length) return;
    try {
      // In this order: each takes the one before from the window.
      for (const name of ["vega.min.js", "vega-lite.min.js", "vega-embed.min.js"]) await load(name);
    } catch (error) {
      figures.forEach((figure) => figure.classList.add("ds-failed"));
      throw error;
    }
    for (const figure of figures) await draw(figure);
    let timer;
    const refresh = () => {
      clearTimeout(timer);
      timer = setTimeout(async () => {
        for (const figure of figures) {
          const width = figure.querySelector(".ds-view").clientWidth;
          const dark = root.dataset.theme === "dark";
          if (width !== figure.drawn.width || dark !== figure.drawn.dark) await draw(figure);
        }
      }, REDRAW_DELAY);
    };
    new MutationObserver(refresh).observe(root, { attributeFilter: ["data-theme"] });
    const observer = new ResizeObserver(refresh);
    figures.forEach((figure) => observer.observe(figure.querySelector(".ds-view")));
  }

  // ---- Tables -----------------------------------------------------------------------------------

  const element = (name, properties = {}, ...children) => {
    const node = Object.assign(document.createElement(name), properties);
    node.append(...children);
    return node;
  };

  function table(figure) {
    const body = figure.querySelector("tbody");
    const headers = [...figure.querySelectorAll("thead th")];
    const rows = [...body.rows];
    const page = Number(figure.dataset.page) || rows.length;
    const tests = new Map(); // what asks for rows: a function from row to boolean
    let shown = page;

    const count = element("output");
    const more = element("button", { type: "button" });
    const below = element("div", { className: "ds-more" }, more);
    more.onclick = () => {
      shown += page * 4;
      apply();
    };

    function apply() {
      let matching = 0;
      for (const row of body.rows) {
        const match = [...tests.values()].every((test) => test(row));
        matching += match;
        row.hidden = !match || matching > shown;
      }
      count.textContent =
        matching === rows.length ? `${rows.length} rows` : `${matching} of ${rows.length} rows`;
      below.hidden = matching <= shown;
      more.textContent = `Show more (${matching - Math.min(shown, matching)} left)`;
    }

    const changed = () => {
      shown = page;
      apply();
    };

    headers.forEach((header, index) => {
      const button = element("button", { type: "button" }, ...header.childNodes);
      header.append(button);
      button.onclick = () => {
        const descending = header.ariaSort === "ascending";
        headers.forEach((other) => other.removeAttribute("aria-sort"));
        header.ariaSort = descending ? "descending" : "ascending";
        const number = header.classList.contains("ds-number");
        const key = (row) => {
          const cell = row.cells[index];
          if (!number) return cell.textContent;
          return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
        };
        const compare = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === null || y === null) return (x === null) - (y === null); // no value: last
          const order = number ? x - y : x.localeCompare(y, "en", { numeric: true });
          return descending ? -order : order;
        };
        body.append(...[...body.rows].sort(compare));
        changed();
      };
    });

    const controls = element("div", { className: "ds-controls" });
    if ("search" in figure.dataset) {
      const field = element("input", { type: "search" });
      field.oninput = () => {
        const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
        tests.set("search", (row) => {
          const text = row.textContent.toLowerCase();
          return words.every((word) => text.includes(word));
        });
        changed();
      };
      controls.append(element("label", {}, "Search", field));
    }
    headers.forEach((header, index) => {
      if (!("filter" in header.dataset)) return;
      const counts = new Map();
      for (const row of rows) {
        const value = row.cells[index].textContent;
        counts.set(value, (counts.get(value) || 0) + 1);
      }
      const menu = element("select", {}, element("option", { value: "" }, "all"));
      const compare = (a, b) => a.localeCompare(b, "en", { numeric: true });
      const values = [...counts.keys()].sort(compare);
      values.forEach((value, i) =>
        menu.append(element("option", { value: String(i + 1) }, `${value} (${counts.get(value)})`)),
      );
      menu.onchange = () => {
        const value = values[Number(menu.value) - 1];
        tests.set(index, (row) => value === undefined || row.cells[index].textContent === value);
        changed();
      };
      controls.append(element("label", {}, header.textContent, menu));
    });
    if (controls.children.length) {
      controls.append(count);
      figure.querySelector(".ds-scroll").before(controls);
    }
    figure.append(below);
    apply();
  }

  function start() {
    document.querySelectorAll(".ds-table").forEach(table);
    charts().catch((error) => console.error(error));
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
