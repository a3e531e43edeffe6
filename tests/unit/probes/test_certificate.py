from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.model.health import Outcome, ProbeResult, RungKey
from controller.probes.certificate import Certificate, CertificateParameters, pem_certificates, validity
from tests.builders.responders import free_port

KEY = RungKey("sip-certificate", "certificate")
AUTHORITY = trustme.CA()


def issued(days: float, *names: str) -> trustme.LeafCert:
    return AUTHORITY.issue_cert(
        *(names or ("lab.example",)),
        not_before=datetime.now(UTC) - timedelta(days=100),
        not_after=datetime.now(UTC) + timedelta(days=days),
    )


async def run(**settings: Any) -> ProbeResult:
    return await Certificate(CertificateParameters(**settings)).run(KEY, 10.0)


@asynccontextmanager
async def tls_server(certificate: trustme.LeafCert) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("days", "outcome"), [(90, Outcome.UP), (5, Outcome.FAILED), (-3, Outcome.FAILED)])
async def test_days_left_of_a_server(days: float, outcome: Outcome) -> None:
    async with tls_server(issued(days)) as address:
        result = await run(address=address)
    assert result.outcome is outcome and result.up is (outcome is Outcome.UP)
    assert dict(result.values)["days_left"] == pytest.approx(days, abs=0.01)


@pytest.mark.parametrize(("days", "outcome"), [(90, Outcome.UP), (5, Outcome.FAILED)])
async def test_days_left_of_a_file_with_a_key_and_a_chain(
    tmp_path: Path, days: float, outcome: Outcome
) -> None:
    path = tmp_path / "all.pem"
    path.write_bytes(
        issued(days).private_key_pem.bytes()
        + issued(days).cert_chain_pems[0].bytes()
        + AUTHORITY.cert_pem.bytes()
    )
    result = await run(file=str(path))
    assert result.outcome is outcome
    assert dict(result.values)["days_left"] == pytest.approx(days, abs=0.01)


async def test_verification_of_name_and_authority(tmp_path: Path) -> None:
    trusted = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(trusted))
    async with tls_server(issued(90)) as address:
        settings = {"address": address, "verify": True, "authorities": str(trusted)}
        good = await run(**settings, server_name="lab.example")
        wrong = await run(**settings, server_name="other.example")
        unknown = await run(address=address, verify=True, server_name="lab.example")
    assert good.outcome is Outcome.UP
    assert wrong.outcome is Outcome.FAILED and "lab.example" in wrong.note
    assert unknown.outcome is Outcome.FAILED
    assert all("days_left" in dict(result.values) for result in (good, wrong, unknown))


async def test_bad_peers_and_files(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        no_tls = await run(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    refused = await run(address=f"127.0.0.1:{free_port(1)}")
    missing = await run(file=str(tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "empty.pem").write_text("")
    bad, empty = await run(file=str(tmp_path / "bad.pem")), await run(file=str(tmp_path / "empty.pem"))
    assert {no_tls.outcome, refused.outcome, missing.outcome} == {Outcome.TRANSPORT}
    assert {bad.outcome, empty.outcome} == {Outcome.MALFORMED}


def test_validity_agrees_with_the_library() -> None:
    pem = issued(4000).cert_chain_pems[0].bytes().decode()
    (der,) = pem_certificates(pem)
    found = validity(der)
    assert found.not_after == pytest.approx(time.time() + 4000 * 86400, abs=60)
    assert found.not_before == pytest.approx(time.time() - 100 * 86400, abs=60)


def test_dates_past_2049_are_read() -> None:
    (der,) = pem_certificates(issued(15_000).cert_chain_pems[0].bytes().decode())
    assert validity(der).not_after == pytest.approx(time.time() + 15_000 * 86400, abs=60)


GOOD = pem_certificates(issued(30).cert_chain_pems[0].bytes().decode())[0]


@given(st.one_of(st.binary(max_size=200), st.integers(0, 250).map(lambda cut: GOOD[:cut])))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        validity(data)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_never_raises_anything_else(position: int, value: int) -> None:
    changed = GOOD[:position] + bytes((value,)) + GOOD[position + 1 :]
    try:
        validity(changed)
    except ValueError:
        pass


def test_parameters_are_checked() -> None:
    for wrong in ({}, {"address": "a:1", "file": "b"}, {"file": "b", "verify": True}):
        with pytest.raises(ValidationError):
            CertificateParameters(**wrong)
