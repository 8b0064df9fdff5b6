"""The job as a whole: graph, configuration, runners, plan, summary."""
