"""Storage of the sandbox: the parts that a CSI driver's sidecars and node plugin play on a real cluster.

The real kube-controller-manager binds claims, attaches disks and guards objects in use. This package
answers it: `provisioner` makes volumes, `reclaimer` deletes them, `resizer` grows them, `attacher`
attaches disks, `csinodes` announces the drivers on nodes, and `mount` is the node's side.
"""
