"""JupyterLab with the runbook's index in front: `runbook lab`, the control panel, and which steps hold."""
