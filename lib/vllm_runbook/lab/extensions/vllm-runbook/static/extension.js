// What `runbook lab` adds to JupyterLab, without a build: a module federation container with one plugin.
// 1. The index runs when it opens, so that its panel is there at once. That is the file index.ipynb at the top of
//    the served directory and nothing else: no notebook of others ever runs by itself.
// 2. Texts of plotly figures have the theme's colour, so that they can be read on light and on dark ground.
(() => {
  "use strict";
  const INDEX = "index.ipynb";
  const STYLE = `
    .js-plotly-plot .main-svg > g:not(.hoverlayer) text { fill: var(--jp-ui-font-color1) !important; }
    .js-plotly-plot .main-svg .legendtext { fill: var(--jp-ui-font-color1) !important; }`;

  function activate(app) {
    const style = document.createElement("style");
    style.textContent = STYLE;
    document.head.append(style);

    const known = new WeakSet();
    const run = async (panel) => {
      if (known.has(panel) || panel?.context?.path !== INDEX || !panel.sessionContext) return;
      known.add(panel);
      await panel.context.ready;
      await panel.sessionContext.ready;
      await panel.revealed;
      if (app.shell.currentWidget === panel) await app.commands.execute("notebook:run-all-cells");
    };
    app.restored.then(() => {
      run(app.shell.currentWidget);
      app.shell.currentChanged?.connect((_shell, change) => run(change.newValue));
    });
  }

  const plugin = { id: "vllm-runbook:index", description: "Runs the runbook's index", autoStart: true, activate };
  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB["vllm-runbook"] = {
    init: () => {},
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
