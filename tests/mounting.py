"""Whether this process may mount file systems: the superuser, outside most containers."""

import subprocess


def may_mount() -> bool:
    """Whether a mount is allowed, found by trying a mount namespace of its own."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
