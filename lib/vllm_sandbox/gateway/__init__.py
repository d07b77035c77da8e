"""The sandbox's gateway: a small program that honours HTTPRoutes of the Gateway API. Simulated: clouds have Envoy.

It stands for the controller and the data plane of a real gateway: the objects, their status conditions, the shares and
the answers when nobody can serve are as the Gateway API's specification has them (gateway-api.sigs.k8s.io, v1.7).
Left out is what says so in a route's or listener's status: TLS, filters, regular expressions, other kinds of routes.
"""

#: spec.controllerName of our GatewayClass.
CONTROLLER = "sandbox.vllm-runbook.dev/gateway"
GROUP = "gateway.networking.k8s.io"
