"""Who people are: sign-in, API tokens, rates, repeated requests, the audit log."""
