"use strict";
// Says what went wrong with a request, until the next one; what is polled takes back its own words alone.
{
  const notice = document.getElementById("notice");
  let teller = null;
  const isPolled = (element) => element.matches("[hx-trigger*='every']");
  const tell = (element, text) => {
    teller = element;
    if (notice.textContent !== text) notice.textContent = text; // not read aloud again at each poll
  };
  document.addEventListener("htmx:beforeRequest", ({ detail: { elt } }) => { if (!isPolled(elt)) tell(null, ""); });
  document.addEventListener("htmx:afterRequest", ({ detail: { elt, successful } }) => { if (successful && elt === teller) tell(null, ""); });
  document.addEventListener("htmx:responseError", ({ detail: { elt, xhr } }) => {
    const isText = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
    tell(elt, isText ? xhr.responseText : `${notice.dataset.failed} ${xhr.status}`);
  });
  document.addEventListener("htmx:sendError", ({ detail: { elt } }) => tell(elt, notice.dataset.unreachable));
}
