"use strict";
// What the console's pages do beside htmx: ask before leaving what is not saved.
{ // The menu's editor.
  const draft = () => document.querySelector("form[data-draft]");
  let seen = [], isSent = false;
  // What is typed is checked without touching the inputs: only what is said below them is replaced.
  document.addEventListener("htmx:afterSettle", () => {
    for (const says of document.querySelectorAll("#editor .says")) {
      const input = document.getElementById(says.id.slice(0, -"-says".length));
      if (input?.hasAttribute("aria-invalid")) input.setAttribute("aria-invalid", String(Boolean(says.querySelector(".wrong"))));
    }
  });
  // A sub-menu that was opened in the preview stays open.
  document.addEventListener("htmx:beforeSwap", () => { seen = [...document.querySelectorAll("#preview details[open]")].map(({ id }) => id); });
  document.addEventListener("htmx:afterSwap", () => seen.forEach((id) => document.getElementById(id)?.setAttribute("open", "")));
  // The draft is in the form alone: the browser asks before it is left, once it was changed.
  document.addEventListener("input", (event) => { if (draft() && event.target.form === draft()) draft().elements.changed.value = "1"; });
  document.addEventListener("submit", (event) => { isSent = event.target === draft(); });
  document.addEventListener("htmx:beforeOnLoad", ({ detail: { xhr } }) => { if (xhr.getResponseHeader("HX-Redirect")) isSent = true; });
  window.addEventListener("beforeunload", (event) => { if (draft()?.elements.changed.value && !isSent) event.preventDefault(); });
}
