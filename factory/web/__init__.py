"""Run logs, a status page and the webhook ingress: what people and the forge reach over HTTP."""
