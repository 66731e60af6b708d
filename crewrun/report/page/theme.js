// Light or dark: as the reader's system is, until the reader chooses.
import { h } from "./dom.js";

const STORE = "crewrun-report-theme";

/** The switch between light, dark and the system's own. */
export function themeSwitch() {
  const select = h(
    "select",
    { "aria-label": "Colours", id: "theme" },
    ...["system", "light", "dark"].map((value) => h("option", { value, text: value === "system" ? "auto" : value })),
  );
  select.value = stored();
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    try {
      localStorage.setItem(STORE, select.value);
    } catch {
      // Browsers may refuse storage to files; then the choice lasts as long as the page.
    }
  });
  return select;
}

function stored() {
  try {
    const value = localStorage.getItem(STORE);
    return ["light", "dark"].includes(value) ? value : "system";
  } catch {
    return "system";
  }
}

function apply(value) {
  if (value === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = value;
}
