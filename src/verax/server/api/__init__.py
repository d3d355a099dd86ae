"""The OpenAI-compatible API: routes, what is sent, what is asked, what is answered."""
