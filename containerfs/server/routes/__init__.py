"""The endpoints: each reads its request, calls the service, and renders the answer."""
