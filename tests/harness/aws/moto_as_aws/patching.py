"""How moto is patched, and what several patches need."""

import threading
from functools import wraps

from moto.elbv2.exceptions import ELBClientError

# moto answers every request in a thread of its own; what looks for a name and then takes it must do so alone.
LOCK = threading.RLock()


def patch(owner):
    """Puts a function in the place of its namesake, which it gets as its first argument."""

    def decorate(function):
        original = getattr(owner, function.__name__)

        @wraps(original)
        def patched(*args, **kwargs):
            with LOCK:
                return function(original, *args, **kwargs)

        setattr(owner, function.__name__, patched)
        return patched

    return decorate


def client_error(code, message):
    return ELBClientError(code, message)


def at_most_20(items):
    if len(items or []) > 20:
        raise client_error("ValidationError", "At most 20 elements may be specified")


def tag_of(ec2, resource, key):
    return ec2.tags.get(resource, {}).get(key)
