"""Requests to the API, whose answers are looked at."""


def post(client, path, **body):
    """Returns the answer to a request that must be answered."""
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()
