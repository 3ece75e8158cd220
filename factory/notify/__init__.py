"""Telling people outside the forge that something needs them: ntfy, Slack, Mattermost, Telegram."""
