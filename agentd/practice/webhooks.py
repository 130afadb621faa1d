"""Signed deliveries of what happened: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import uuid

import aiohttp

from agentd.practice.world import Json, Webhook, World

TIMEOUT_SECONDS = 10


async def deliver(world: World) -> None:
    """Starts the deliveries that wait in the outbox; GitHub does not wait for them either."""
    waiting, world.outbox = world.outbox, []
    for hook, event, payload in waiting:
        task = asyncio.create_task(send(world, hook, event, payload))
        world.sending.add(task)
        task.add_done_callback(world.sending.discard)


async def send(world: World, hook: Webhook, event: str, payload: Json) -> None:
    """One delivery, tried once as GitHub does; its outcome goes to `world.deliveries`."""
    body = json.dumps(payload).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/practice",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": str(uuid.uuid4()),
        "X-GitHub-Hook-ID": str(hook.id),
    }
    if hook.secret:
        headers["X-Hub-Signature-256"] = "sha256=" + hmac.new(hook.secret.encode(), body, hashlib.sha256).hexdigest()
    record: Json = {
        "event": event,
        "action": payload.get("action"),
        "url": hook.url,
        "status": None,
        "payload": payload,
    }
    world.deliveries.append(record)
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(hook.url, data=body, headers=headers) as got,
        ):
            record["status"] = got.status
    except (aiohttp.ClientError, TimeoutError) as error:
        record["error"] = str(error)
