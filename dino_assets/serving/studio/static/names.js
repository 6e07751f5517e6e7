// Names of classes and people: blanks as the server stores them, and a sentence for what it would refuse.
const UNREADABLE = /[^\P{C}\u200c\u200d]/u; // joiners belong to names in some scripts, and to emoji of several parts

export const cleanName = text => text.replace(/\s+/gu, " ").trim();

// Let a form end only with a name that can be stored; `onName` gets it.
export function askInForm(form, input, onName) {
  input.setCustomValidity("");
  input.oninput = () => input.setCustomValidity("");
  form.onsubmit = event => {
    const name = cleanName(input.value);
    input.setCustomValidity(!name.replace(/[\u200c\u200d]/gu, "") ? "Type a name." : UNREADABLE.test(name) ? "The name has characters that cannot be seen. Type it again." : "");
    if (input.reportValidity()) onName(name); else event.preventDefault();
  };
}
