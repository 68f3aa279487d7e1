"""Start and end clusters by the tools of Ray, Kubernetes and SkyPilot: one command each, which is shown."""
