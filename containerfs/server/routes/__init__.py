"""HTTP in, HTTP out: each endpoint reads its request, asks the service, and renders the answer."""
