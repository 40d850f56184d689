"""What a tool can do for a principal on one served model, with its settings, jobs and result views."""
