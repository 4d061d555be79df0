"""The Hub: repositories of others, looked up, fetched and verified."""
