// What a reader takes away (CSV, citation, print), and tables that say when they are wider than the window.
const panels = (() => {
  function toggle(button) {
    const opened = button.getAttribute("aria-expanded") !== "true";
    for (const other of document.querySelectorAll("[data-opens]")) {
      const isOpen = other === button && opened;
      other.setAttribute("aria-expanded", String(isOpen));
      document.getElementById(other.dataset.opens).hidden = !isOpen;
    }
  }

  // The clipboard is closed to a page in a frame; there the text is selected and copied as a reader would.
  async function copy(button) {
    const place = document.getElementById(button.dataset.copies);
    let done = false;
    try {
      await navigator.clipboard.writeText(place.textContent);
      done = true;
    } catch {
      const range = document.createRange();
      range.selectNodeContents(place);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Selected: press Ctrl+C";
    setTimeout(() => { button.textContent = "Copy"; }, 3000);
  }

  function markWide() {
    for (const place of document.querySelectorAll(".scroll")) {
      const isWide = place.scrollWidth > place.clientWidth + 1;
      place.previousElementSibling?.classList.contains("scrolls") || place.before(hint());
      place.previousElementSibling.hidden = !isWide;
    }
  }

  function hint() {
    const line = document.createElement("p");
    line.className = "scrolls note";
    line.textContent = "Scroll sideways for more \u2192";
    return line;
  }

  function unfold(on) {
    for (const fold of document.querySelectorAll("details")) {
      if (on) fold.dataset.was = String(fold.open);
      fold.open = on || fold.dataset.was === "true";
    }
  }

  function wire() {
    for (const button of document.querySelectorAll("[data-opens]")) button.addEventListener("click", () => toggle(button));
    for (const button of document.querySelectorAll("[data-copies]")) button.addEventListener("click", () => copy(button));
    const file = document.getElementById("csv-file");
    const print = document.querySelector("[data-prints]");
    const framed = window.top !== window;
    if (framed) { // MLflow's frame lets no page print, nor save a file.
      print.hidden = true;
      file.closest("p").hidden = true;
    }
    file.href = `data:text/csv;charset=utf-8,${encodeURIComponent(document.getElementById("csv-text").textContent)}`;
    print.addEventListener("click", () => window.print());
    window.addEventListener("beforeprint", () => unfold(true));
    window.addEventListener("afterprint", () => unfold(false));
    window.addEventListener("resize", markWide);
    // A chart inside a fold has no width until the fold is open.
    for (const fold of document.querySelectorAll("details")) {
      fold.addEventListener("toggle", () => { window.dispatchEvent(new Event("resize")); });
    }
    markWide();
  }

  return { wire };
})();
