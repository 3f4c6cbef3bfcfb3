"""What the gateway does: receive HR events, sign people in, record their commands."""
