"""moto 5.2.5 with the behaviour of AWS that tests of Network Load Balancers rest on: `python moto_as_aws -H 127.0.0.1 -p PORT`.

moto keeps real state and refuses much of what AWS refuses, but its load balancers are Application Load Balancers with
another label. Each patch says which sentence of AWS's it restores: "model" is the service's own `service-2.json` (texts of
operations and errors), "guide" is the user guide for Network Load Balancers. Everything else is moto's own behaviour.

What AWS decides by itself, a test decides by tags that only it knows: the tag `harness/health` of an instance is the state of
its targets (`unhealthy`, `initial`, ...), `harness/load-balancer-state` of a VPC is that of its load balancers.

The patches reach into moto's private names: the version is pinned, and any other is refused.
"""

import moto

VERSION = "5.2.5"

if __name__ == "__main__":
    if moto.__version__ != VERSION:
        raise SystemExit(f"written for moto {VERSION}, not {moto.__version__}: look at every patch again")
    # Each patches moto when it is imported.
    import access  # noqa: F401
    import control  # noqa: F401
    import listeners  # noqa: F401
    import load_balancers  # noqa: F401
    import pages  # noqa: F401
    import security_groups  # noqa: F401
    import subnets  # noqa: F401
    import target_groups  # noqa: F401

    from moto.server import main

    main()
