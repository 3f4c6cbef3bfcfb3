"""Plays the example clinic into running services, tells what came of it, and checks the promises.

Everything goes through the services' own HTTP APIs, as an HR system and a portal administrator
would use them. No number in the summary is written here: each is a service's answer.
"""

from deploy.story.checking import check_invariants
from deploy.story.playing import play
from deploy.story.services import ROLES, Installed, Services, StoryFailed
from deploy.story.telling import summary

__all__ = ["ROLES", "Installed", "Services", "StoryFailed", "check_invariants", "play", "summary"]
