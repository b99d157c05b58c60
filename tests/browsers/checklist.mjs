// Named checks, counted.
export const totals = { passed: 0, failed: 0 };

/** A set of named checks: prints nothing but what fails. */
export function checklist(title) {
  const list = { title, passed: 0, failed: 0 };
  list.check = (name, ok, detail) => {
    list[ok ? 'passed' : 'failed'] += 1;
    totals[ok ? 'passed' : 'failed'] += 1;
    if (!ok) console.log(`FAILED ${title}: ${name}${detail === undefined ? '' : `: ${show(detail)}`}`);
  };
  return list;
}

const show = (detail) => (detail instanceof Error ? detail.stack : JSON.stringify(detail)).slice(0, 2000);
