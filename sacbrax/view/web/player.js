// Plays a recorded episode: the scene with a camera that follows and the mouse turns, a line of text, and under it
// reward and actions over time. `head` and `packed` are made by episode_page.py, which says what is in them.
"use strict";

async function unpack(head, packed) {
  const deflated = new Blob([Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0))]);
  const bytes = await new Response(deflated.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const words = new Uint16Array(bytes); // computers with browsers are little-endian
  let at = 0;
  const take = (count) => words.subarray(at, (at += count));
  const meshes = head.meshes.map(([vertices, faces, low, step]) => ({
    vertices: Float32Array.from(take(3 * vertices), (word, i) => low[i % 3] + step[i % 3] * word),
    faces: take(3 * faces),
  }));
  const tracks = head.low.map((low, c) => {
    let word = 0;
    return Float32Array.from(take(head.frames), (difference) => low + head.step[c] * (word = (word + difference) & 65535));
  });
  return { meshes, tracks };
}

async function play(root, head, packed) {
  const { meshes, tracks } = await unpack(head, packed), frames = head.frames, bodies = head.bodies;
  const picture = root.querySelector(".picture"), traces = root.querySelector(".traces");
  const text = root.querySelector(".text"), slider = root.querySelector("input");
  const button = root.querySelector("button"), speed = root.querySelector("select");
  const [returns, reward, ...actions] = tracks.slice(7 * bodies);
  const scene = makeScene(picture, meshes, head.geoms);
  if (!scene) text.textContent = "This browser has no WebGL 2, in which the picture would be drawn.";

  // What the camera centres on: the middle of what moves, smoothed so that strokes do not shake the picture.
  const moving = [...new Set(head.geoms.filter((geom) => geom.moves).map((geom) => geom.body))];
  const shown = moving.length ? moving : [...Array(bodies).keys()], step = Math.ceil(frames / 200);
  const centre = [];
  for (let t = 0; t < frames; t++)
    centre.push([0, 1, 2].map((i) => shown.reduce((sum, b) => sum + tracks[7 * b + i][t], 0) / shown.length));
  const window_ = Math.round(0.8 / head.dt);
  const follow = centre.map((_, t) => {
    const around = centre.slice(Math.max(0, t - window_), t + window_ + 1);
    return [0, 1, 2].map((i) => around.reduce((sum, c) => sum + c[i], 0) / around.length);
  });
  const size = meshes.map((mesh) => mesh.vertices.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
  const distances = []; // of everything that moves from the centre, at some times
  for (let t = 0; t < frames; t += step)
    distances.push(
      head.geoms
        .filter((geom) => geom.moves || !moving.length)
        .reduce((most, geom) => {
          const place = [0, 1, 2].map((i) => tracks[7 * geom.body + i][t]);
          const reach = Math.hypot(...geom.position) + size[geom.mesh];
          return Math.max(most, Math.hypot(...minus(place, follow[t])) + reach);
        }, 0),
    );
  distances.sort((a, b) => a - b);
  const extent = distances[Math.floor(0.5 * distances.length)] || 1;
  const square = 10 ** Math.round(Math.log10(extent));

  const views = { above: [-90, 89.9], side: [-90, 8], between: [-60, 18] };
  let yaw, pitch, distance, shift;
  function reset() {
    [yaw, pitch] = views[head.view].map((angle) => (angle * Math.PI) / 180);
    distance = 2.6 * extent;
    shift = [0, 0, 0];
  }

  let time = 0, running = true, last = null;
  let stale = true; // Drawn once in a frame, however many events come: each picture costs a slow computer a while.

  function draw() {
    const frame = Math.min(frames - 1, Math.floor(time / head.dt));
    const next = Math.min(frames - 1, frame + 1), part = Math.min(1, time / head.dt - frame);
    const between = (track) => track[frame] + part * (track[next] - track[frame]);
    if (scene) {
      const worlds = [];
      for (let b = 0; b < bodies; b++) {
        const [x, y, z, ...q] = tracks.slice(7 * b, 7 * b + 7).map(between);
        worlds.push(pose([x, y, z], q));
      }
      const target = [0, 1, 2].map((i) => follow[frame][i] + part * (follow[next][i] - follow[frame][i]) + shift[i]);
      const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
      const eye = [cp * cy, cp * sy, sp].map((x, i) => target[i] + distance * x);
      scene({ eye, target, up: [-sp * cy, -sp * sy, cp], reach: 30 * extent, square }, worlds, head.ground);
      const earned = (Math.round(returns[frame] * 10) || 0) / 10; // and no -0
      text.textContent = `return ${earned.toFixed(1)}   time ${(frame * head.dt).toFixed(1)} s`;
    }
    drawTraces(frame);
    slider.value = frame;
  }

  const LEFT = 68, REWARD = 46;

  function drawTraces(frame) {
    const ratio = window.devicePixelRatio || 1, width = traces.clientWidth, height = traces.clientHeight;
    traces.width = width * ratio;
    traces.height = height * ratio;
    const context = traces.getContext("2d"), row = (height - REWARD) / actions.length;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "12px system-ui, sans-serif";
    const x = (t) => LEFT + ((width - LEFT - 1) * t) / Math.max(1, frames - 1);
    function line(track, top, high, low, tall, colour, name) {
      const y = (value) => top + 2 + ((tall - 4) * (high - value)) / (high - low || 1);
      context.strokeStyle = "#ddd";
      context.beginPath();
      if (low <= 0 && high >= 0) context.rect(LEFT, y(0), width - LEFT, 0);
      context.stroke();
      context.strokeStyle = colour;
      context.beginPath();
      for (let t = 1; t < frames; t++) context.lineTo(x(t), y(track[t])); // at the start there is neither
      context.stroke();
      context.fillStyle = "#555";
      if (name) context.fillText(name, 0, top + tall / 2 + 4);
    }
    const later = reward.subarray(1);
    line(reward, 0, Math.max(0, ...later), Math.min(0, ...later), REWARD, "#1f77b4", "reward");
    actions.forEach((track, i) => {
      const name = row > 11 ? `action ${i}` : i === 0 ? "actions" : "";
      line(track, REWARD + i * row, 1, -1, row, "#d2691e", name);
    });
    context.fillStyle = "rgba(0, 0, 0, 0.6)";
    context.fillRect(x(frame) - 0.5, 0, 1.5, height);
  }

  function tick(now) {
    if (running && last !== null) {
      time += ((now - last) / 1000) * Number(speed.value);
      if (time >= frames * head.dt) time = 0;
      stale = true;
    }
    last = now;
    if (stale) draw();
    stale = false;
    requestAnimationFrame(tick);
  }

  function pause(value) {
    running = !value;
    button.textContent = running ? "pause" : "play";
  }

  function seek(frame) {
    time = Math.max(0, Math.min(frames - 1, frame)) * head.dt;
    pause(true);
    stale = true;
  }

  const fingers = new Map(); // pointers that are down, by id
  function move(event) {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY }, dx = now.x - before.x, dy = now.y - before.y;
    if (fingers.size === 2) {
      const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const apart = (point) => Math.hypot(point.x - other.x, point.y - other.y);
      distance *= apart(before) / Math.max(1, apart(now));
    } else if (event.shiftKey || event.buttons === 2) {
      const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
      const scale = distance / picture.clientHeight, up = [-sp * cy, -sp * sy, cp], right = [-sy, cy, 0];
      shift = shift.map((x, i) => x + scale * (dy * up[i] - dx * right[i]));
    } else {
      yaw -= dx * 0.008;
      pitch = Math.max(-1.57, Math.min(1.57, pitch + dy * 0.008));
    }
    fingers.set(event.pointerId, now);
    stale = true;
  }
  picture.addEventListener("pointerdown", (event) => {
    picture.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  });
  picture.addEventListener("pointermove", move);
  for (const end of ["pointerup", "pointercancel"])
    picture.addEventListener(end, (event) => fingers.delete(event.pointerId));
  picture.addEventListener("contextmenu", (event) => event.preventDefault());
  picture.addEventListener("wheel", (event) => {
    event.preventDefault();
    distance *= Math.exp(event.deltaY * 0.001);
    stale = true;
  });
  picture.addEventListener("dblclick", () => {
    reset();
    stale = true;
  });
  traces.style.height = `${REWARD + Math.min(220, Math.max(60, 26 * actions.length))}px`;
  traces.addEventListener("click", (event) =>
    seek(Math.round(((event.offsetX - LEFT) / (traces.clientWidth - LEFT - 1)) * (frames - 1))),
  );
  slider.max = frames - 1;
  slider.addEventListener("input", () => seek(Number(slider.value)));
  button.addEventListener("click", () => pause(running));
  window.addEventListener("resize", () => (stale = true));
  reset();
  requestAnimationFrame(tick);
}
